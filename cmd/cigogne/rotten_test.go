package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// TestRottenPack: what rotted in a folder is not given out as the image that
// was acknowledged. Where another archive has it, it is given out from there, and the damage repaired.
func TestRottenPack(t *testing.T) {
	t.Parallel()
	for name, more := range map[string]int{"one archive": 0, "two archives": 1} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			flags := []string{"--archive", "dir://" + folder, "--settle", "20ms", "--scrub-rate", "100MiB", "--log-level", "error"}
			for range more {
				flags = append(flags, "--archive", "dir://"+t.TempDir())
			}
			node := serve(t, t.TempDir(), flags...)
			study := dicomtest.NewStudy(dicomtest.Options{Seed: 9601, Modality: "CR", Instances: 1})
			if !pushSTOW(t.Context(), node, newLedger(), study.Instances) {
				t.Fatal("push failed")
			}
			node.archived()
			in := study.Instances[0]
			key := storage.InstanceKey{StudyInstanceUID: in.StudyInstanceUID, SeriesInstanceUID: in.SeriesInstanceUID, SOPInstanceUID: in.SOPInstanceUID}
			want, err := retrieve(t.Context(), node.web, key)
			if err != nil {
				t.Fatal(err)
			}
			rot(t, folder, want[len(want)/2:len(want)/2+64])
			got, err := retrieve(t.Context(), node.web, key)
			switch {
			case err == nil && !bytes.Equal(got, want):
				t.Error("other bytes were given out than were acknowledged")
			case err != nil && more > 0:
				t.Errorf("another archive has it: %v", err)
			}
			told := []string{"cigogne_scrub_unrepaired", "cigogne_scrub_repaired_total"}[more]
			node.eventually(told, func() bool { return metric(t, node, told) > "0" }) // it may be found twice
		})
	}
}

// TestPullWithoutWhatIsRotten: one instance that rotted keeps none of the others
// of its study from being pulled, and is named.
func TestPullWithoutWhatIsRotten(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	node := serve(t, t.TempDir(), "--archive", "dir://"+folder, "--settle", "20ms", "--scrub-rate", "0", "--log-level", "error")
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 9602, Modality: "CT", Instances: 12})
	if !pushSTOW(t.Context(), node, newLedger(), study.Instances) {
		t.Fatal("push failed")
	}
	node.archived()
	rotten := study.Instances[5]
	whole := rotten.Part10()
	rot(t, folder, whole[len(whole)/2:len(whole)/2+64])
	to := t.TempDir()
	code, events, said := transfer(t, node.web, nil, "pull", "--study", study.StudyInstanceUID, "--study", study.StudyInstanceUID, "-o", to)
	leftOut := 0
	for _, e := range events {
		if e.Event == "leftout" && e.Instance == rotten.SOPInstanceUID {
			leftOut++
		}
	}
	if r := result(t, events); code != exitPartly || r.Pulled != 11 || r.Left != 1 || leftOut != 2 {
		t.Fatalf("exit code %d, %+v\n%s", code, r, said)
	}
	study.Instances = append(study.Instances[:5:5], study.Instances[6:]...)
	same(t, to, study)
}

// rot changes a bit of what is given in the packs of a folder.
func rot(t *testing.T, folder string, what []byte) {
	t.Helper()
	rotten := 0
	err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".zip") {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		at := bytes.Index(b, what)
		if at < 0 {
			return nil
		}
		rotten++
		b[at] ^= 1
		return os.WriteFile(path, b, 0o600)
	})
	if err != nil || rotten == 0 {
		t.Fatalf("%d packs with these bytes, %v", rotten, err)
	}
}
