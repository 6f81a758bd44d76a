package gateway_test

import (
	"slices"
	"testing"

	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
	"github.com/esante-alsace/cigogne/storage/index"
)

// TestPages: pages of instances put together are the whole answer, wherever
// the instances lie.
func TestPages(t *testing.T) {
	n := open(t, t.TempDir(), mem.New())
	for seed := range uint64(4) {
		study := dicomtest.NewStudy(dicomtest.Options{Seed: seed, Modality: "CR", Series: 2, Instances: 5})
		n.mustStore(study.Instances[:7]...)
		if seed%2 == 0 {
			n.pass()
		}
		n.mustStore(study.Instances[7:]...) // a series of seed 0 and 2 is in two places
	}
	for _, q := range []index.Query{
		{Level: index.Image},
		{Level: index.Image, Match: []index.Condition{{Path: []dicom.Tag{0x00200013}, Value: "2"}}},
		{Level: index.Image, Match: []index.Condition{{Path: []dicom.Tag{0x00080060}, Value: "CR"}}},
	} {
		whole := n.search(q)
		if len(whole) == 0 {
			t.Fatalf("%+v finds nothing", q)
		}
		for _, size := range []int{1, 3, 7} {
			var pages []string
			for q.Offset, q.Limit = 0, size; ; q.Offset += size {
				page := n.search(q)
				pages = append(pages, page...)
				if len(page) < size {
					break
				}
			}
			if !slices.Equal(pages, whole) {
				t.Errorf("%v: pages of %d are not the whole: %d answers, not %d", q.Match, size, len(pages), len(whole))
			}
		}
		q.Offset, q.Limit = 0, 0
	}
}

// TestSearchPatients: a patient is one answer, however many studies there are and
// pages of them are looked at.
func TestSearchPatients(t *testing.T) {
	n := open(t, t.TempDir(), mem.New())
	for seed := range uint64(12) {
		o := dicomtest.Options{Seed: seed, Modality: "CR", Instances: 1, PatientID: "4711", PatientName: "Müller^Odile"}
		if seed == 5 || seed == 11 {
			o.PatientID, o.PatientName = "4712", "Muller^Jean"
		}
		n.mustStore(dicomtest.NewStudy(o).Instances...)
	}
	found := func(q index.Query) (ids []string) {
		for ds, err := range n.finder.Patients(t.Context(), q) {
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, ds.String(0x00100020))
		}
		slices.Sort(ids)
		return ids
	}
	for most, want := range map[int][]string{0: {"4711", "4712"}, 1: nil, 2: {"4711", "4712"}, 3: {"4711", "4712"}} {
		got := found(index.Query{Level: index.Study, Limit: most})
		if want == nil && len(got) == 1 || slices.Equal(got, want) {
			continue
		}
		t.Errorf("at most %d: %q", most, got)
	}
	named := index.Query{Level: index.Study, Match: []index.Condition{{Path: []dicom.Tag{0x00100010}, Value: "m*odile"}}}
	if got := found(named); !slices.Equal(got, []string{"4711"}) {
		t.Errorf("by name: %q", got)
	}
}

func (n *node) search(q index.Query) (answers []string) {
	n.t.Helper()
	for b, err := range n.finder.Search(n.t.Context(), q) {
		if err != nil {
			n.t.Fatal(err)
		}
		answers = append(answers, string(b))
	}
	return answers
}
