package index_test

import (
	"testing"

	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
)

// BenchmarkHas asks about instances as they are received.
func BenchmarkHas(b *testing.B) {
	x := open(b)
	p := indextest.Population{Seed: 4, MaxSeries: 2, MaxInstances: 8}
	batches(p, 2000, 500, func(one index.Batch) { apply(b, x, one) })
	known := p.Study(77)[0]
	again := indextest.Altered(known, 3)
	again.Key.SOPInstanceUID += ".9"
	for _, c := range []struct {
		name string
		in   index.Instance
		want index.Standing
	}{
		{"of a new study", p.Study(2001)[0], index.StandingNew},
		{"new in a study", again, index.StandingNew},
		{"duplicate", known, index.StandingDuplicate},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if got, err := x.Has(b.Context(), c.in); err != nil || got != c.want {
					b.Fatal(got, err)
				}
			}
		})
	}
}

// BenchmarkLocate asks where an instance lies.
func BenchmarkLocate(b *testing.B) {
	x := open(b)
	p := indextest.Population{Seed: 4, MaxSeries: 2, MaxInstances: 8}
	batches(p, 2000, 500, func(one index.Batch) { apply(b, x, one) })
	key := p.Study(77)[0].Key
	sel := index.Selector{StudyInstanceUID: key.StudyInstanceUID, SeriesInstanceUID: key.SeriesInstanceUID, SOPInstanceUID: key.SOPInstanceUID}
	b.ReportAllocs()
	for b.Loop() {
		live, err := x.Where(b.Context(), sel)
		if err != nil || len(live) != 1 {
			b.Fatal(len(live), err)
		}
		if _, err := x.Packs(b.Context(), sel); err != nil {
			b.Fatal(err)
		}
	}
}
