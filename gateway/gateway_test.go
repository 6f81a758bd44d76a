package gateway_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// TestLife follows instances from the sender to the archive and back.
func TestLife(t *testing.T) {
	n := open(t, t.TempDir(), mem.New())
	study := tiny(1, 5)
	n.mustStore(study.Instances...)
	n.expect(study.StudyInstanceUID, study.Instances...)
	n.pass()
	n.expect(study.StudyInstanceUID, study.Instances...)
	if got := len(n.packs()); got != 1 {
		t.Errorf("%d packs, want 1", got)
	}
	if got := n.unreleased(); got != 0 {
		t.Errorf("the journal still holds %d entries", got)
	}
	n = n.again()
	n.expect(study.StudyInstanceUID, study.Instances...)

	late := tiny(1, 7)
	n.mustStore(late.Instances...) // five of them are here already
	n.expect(study.StudyInstanceUID, late.Instances...)
	n.pass()
	n.expect(study.StudyInstanceUID, late.Instances...)
	if got := len(n.packs()); got != 2 {
		t.Errorf("%d packs after late instances, want 2", got)
	}
}

// TestPackSize: a series that is larger than a pack makes several.
func TestPackSize(t *testing.T) {
	n := open(t, t.TempDir(), mem.New())
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 2, Instances: 5}) // 526 KB each, 1 MiB packs
	n.mustStore(study.Instances...)
	n.pass()
	if got := len(n.packs()); got != 5 {
		t.Errorf("%d packs, want 5", got)
	}
	n.expect(study.StudyInstanceUID, study.Instances...)
}

// TestMoved: what was located in the journal is read from its pack when the
// journal has given its space back in between.
func TestMoved(t *testing.T) {
	n := open(t, t.TempDir(), mem.New())
	study := tiny(4, 3)
	n.mustStore(study.Instances...)
	located, err := n.reader.Instances(t.Context(), gateway.Selector{StudyInstanceUID: study.StudyInstanceUID})
	if err != nil {
		t.Fatal(err)
	}
	n.pass()
	if got := n.unreleased(); got != 0 {
		t.Fatalf("the journal still holds %d entries", got)
	}
	n.compare(located, study.Instances)
	var metadata bytes.Buffer
	if err := located[0].WriteMetadata(t.Context(), &metadata, "http://here"); err != nil {
		t.Error(err)
	}
	if _, err := located[0].Layout(t.Context()); err != nil {
		t.Error(err)
	}
	if !bytes.Contains(metadata.Bytes(), []byte(`"BulkDataURI":"http://here/bulkdata/7FE00010"`)) {
		t.Errorf("metadata %.200s", metadata.Bytes())
	}
}

// TestMetadataSurvivesPacking: an instance says the same of itself in the
// journal and in a pack.
func TestMetadataSurvivesPacking(t *testing.T) {
	n := open(t, t.TempDir(), mem.New())
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 5, Modality: "CR", Instances: 40, TransferSyntaxUID: dicomtest.RLE})
	n.mustStore(study.Instances...)
	describe := func() map[string]string {
		all := map[string]string{}
		found, err := n.reader.Instances(t.Context(), gateway.Selector{StudyInstanceUID: study.StudyInstanceUID})
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range found {
			var b bytes.Buffer
			if err := in.WriteMetadata(t.Context(), &b, ""); err != nil {
				t.Fatal(err)
			}
			l, err := in.Layout(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, " %+v %+v", l.Bulk, l.Frames)
			all[in.About().Key.SOPInstanceUID] = b.String()
		}
		return all
	}
	before := describe()
	n.pass()
	for sop, after := range describe() {
		if after != before[sop] {
			t.Errorf("instance %s\nin the journal %s\nin the pack    %s", sop, before[sop], after)
		}
	}
}
