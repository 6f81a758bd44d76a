package dicomtest_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

func TestTheSameSeedGivesTheSameStudy(t *testing.T) {
	o := dicomtest.Options{Seed: 7, Series: 2, Instances: 3, Modality: "CR"}
	a, b := dicomtest.NewStudy(o), dicomtest.NewStudy(o)
	o.Seed = 8
	c := dicomtest.NewStudy(o)
	seen := map[string]bool{}
	for n := range a.Instances {
		if !bytes.Equal(a.Instances[n].Part10(), b.Instances[n].Part10()) {
			t.Errorf("instance %d differs from itself", n)
		}
		if bytes.Equal(a.Instances[n].DataSet(), c.Instances[n].DataSet()) {
			t.Errorf("instance %d is the same with another seed", n)
		}
		i := a.Instances[n]
		key := storage.InstanceKey{StudyInstanceUID: i.StudyInstanceUID, SeriesInstanceUID: i.SeriesInstanceUID, SOPInstanceUID: i.SOPInstanceUID}
		if err := key.Validate(); err != nil || seen[i.SOPInstanceUID] {
			t.Errorf("%s: %v", key, err)
		}
		seen[i.SOPInstanceUID] = true
	}
	if len(seen) != 6 {
		t.Errorf("%d instances", len(seen))
	}
}

func TestReaderYieldsTheDataSet(t *testing.T) {
	for _, ts := range []string{dicomtest.ExplicitLE, dicomtest.ImplicitLE, dicomtest.ExplicitBE} {
		i := dicomtest.NewStudy(dicomtest.Options{TransferSyntaxUID: ts, Frames: 3}).Instances[0]
		streamed, err := io.ReadAll(i.Reader())
		if err != nil || !bytes.Equal(streamed, i.DataSet()) || int64(len(streamed)) != i.Size() {
			t.Errorf("%s: %d bytes of %d, %v", ts, len(streamed), i.Size(), err)
		}
	}
}

// The sizes that benchmarks speak of.
func TestSizes(t *testing.T) {
	for modality, most := range map[string][2]int{"CT": {524_288, 528_000}, "CR": {21_000, 24_000}} {
		n := len(dicomtest.NewStudy(dicomtest.Options{Modality: modality}).Instances[0].Part10())
		if n < most[0] || n > most[1] {
			t.Errorf("%s has %d bytes", modality, n)
		}
	}
}
