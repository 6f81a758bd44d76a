package index_test

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
)

// TestMultiply makes four indexes' worth out of one, sound and searched as any
// other.
func TestMultiply(t *testing.T) {
	small, large := filepath.Join(t.TempDir(), "small.db"), filepath.Join(t.TempDir(), "large.db")
	x, err := index.Open(t.Context(), index.Options{Path: small})
	if err != nil {
		t.Fatal(err)
	}
	p := indextest.Population{Seed: 7, MaxSeries: 2, MaxInstances: 1}
	const studies, times = 40, 4
	for n := range studies {
		var b index.Batch
		for _, in := range p.Study(n) {
			in.At = index.Position{}
			id := strings.ReplaceAll(in.Key.SeriesInstanceUID, ".", "")
			b.Adopted = append(b.Adopted, index.AdoptedPack{Pack: archived(id, "dir:///a"), Instances: []index.Instance{in}})
		}
		apply(t, x, b)
	}
	one, err := x.Counts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	if err := indextest.Multiply(t.Context(), small, large, p, studies, times); err != nil {
		t.Fatal(err)
	}
	if x, err = index.Open(t.Context(), index.Options{Path: large}); err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	sound(t, x)
	want := index.Stats{Studies: times * one.Studies, Series: times * one.Series, Instances: times * one.Instances, Packs: times * one.Packs}
	if got, err := x.Counts(t.Context()); err != nil || got != want {
		t.Errorf("%+v, want %+v (%v)", got, want, err)
	}
	last := p.Study(studies*times - 1)[0].Key.StudyInstanceUID
	origin := p.Study(studies - 1)[0]
	found := search(t, x, index.Query{Level: index.Study, StudyInstanceUID: last})
	if len(found) != 1 || !reflect.DeepEqual(first(found[0], 0x00100010), first(origin.Attributes, 0x00100010)) {
		t.Errorf("found %v as %s", found, last)
	}
	family, _, _ := strings.Cut(first(origin.Attributes, 0x00100010), "^")
	n := len(search(t, x, index.Query{Level: index.Study, Match: []index.Condition{{Path: []dicom.Tag{0x00100010}, Value: "*" + family + "*"}}}))
	if n < times || n%times != 0 {
		t.Errorf("%d studies of a family", n)
	}
}
