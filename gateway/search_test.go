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
