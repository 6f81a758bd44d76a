package material_test

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/esante-alsace/cigogne/benchmarks/material"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

// TestReal: a real series that is written twice differs in its names alone, and
// is called in its files as it is said to be.
func TestReal(t *testing.T) {
	from := filepath.Join(cmp.Or(os.Getenv("CIGOGNE_DICOM_DIR"), "../../../shared/dicom"), "series", "mr-ge-epi-150")
	real, err := filepath.Glob(filepath.Join(from, "*.dcm"))
	if err != nil {
		t.Fatal(err)
	}
	if len(real) == 0 {
		t.Skip("no real series here; CIGOGNE_DICOM_DIR says where")
	}
	n := len(real) + 2
	s, err := material.Real(from, t.TempDir(), n, 1)
	if err != nil || len(s.Instances) != n {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for i, in := range s.Instances {
		got, err := os.ReadFile(in.Path)
		if err != nil {
			t.Fatal(err)
		}
		was, err := os.ReadFile(real[i%len(real)])
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(was) || int64(len(got)) != in.Size {
			t.Fatalf("%s has %d bytes, was %d", in.Path, len(got), len(was))
		}
		if key := keyOf(t, got); key.SOPInstanceUID != in.SOPInstanceUID || key.SeriesInstanceUID != in.SeriesInstanceUID ||
			key.StudyInstanceUID != in.StudyInstanceUID || !storage.ValidUID(key.SOPInstanceUID) || seen[key.SOPInstanceUID] {
			t.Fatalf("%s is %+v, said to be %s", in.Path, key, in.SOPInstanceUID)
		}
		seen[in.SOPInstanceUID] = true
	}
	if s.Instances[0].StudyInstanceUID == s.Instances[n-1].StudyInstanceUID {
		t.Error("the second time it is the same study")
	}
	if _, err := material.Real(t.TempDir(), t.TempDir(), 1, 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no series: %v", err)
	}
}

func keyOf(t *testing.T, file []byte) storage.InstanceKey {
	t.Helper()
	body := bufio.NewReader(bytes.NewReader(file))
	head, err := dicom.ReadPart10(body)
	if err != nil {
		t.Fatal(err)
	}
	scanner := dicom.NewScanner(head.Meta.TransferSyntaxUID, dicom.ScanLimits{})
	if _, err := body.WriteTo(scanner); err != nil {
		t.Fatal(err)
	}
	set, err := scanner.Close()
	if err != nil {
		t.Fatal(err)
	}
	return storage.InstanceKey{StudyInstanceUID: set.StudyInstanceUID, SeriesInstanceUID: set.SeriesInstanceUID, SOPInstanceUID: set.SOPInstanceUID}
}
