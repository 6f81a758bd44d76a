package index_test

import (
	"flag"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
)

// studies is the size of the benchmarks' region: -studies 1000000 for a real
// one.
var studies = flag.Int("studies", 20_000, "studies in the benchmarks' index")

// batches makes batches of about size instances out of n studies.
func batches(p indextest.Population, n, size int, fn func(index.Batch)) {
	var b index.Batch
	for i := range n {
		b.Received = append(b.Received, p.Study(i)...)
		if len(b.Received) >= size || i == n-1 {
			b.Through = b.Received[len(b.Received)-1].At
			fn(b)
			b = index.Batch{}
		}
	}
}

func BenchmarkApply(b *testing.B) {
	for _, series := range []int{1, 40} {
		b.Run(fmt.Sprintf("batches of 500, up to %d instances a series", series), func(b *testing.B) {
			x := open(b)
			p := indextest.Population{Seed: 3, MaxInstances: series}
			instances, next := 0, 0
			for b.Loop() {
				b.StopTimer()
				var one index.Batch
				for len(one.Received) < 500 {
					one.Received = append(one.Received, p.Study(next)...)
					next++
				}
				one.Through, one.Stamp = one.Received[len(one.Received)-1].At, &index.Stamp{At: int64(next), Keep: 10_000}
				b.StartTimer()
				apply(b, x, one)
				instances += len(one.Received)
			}
			b.ReportMetric(float64(instances)/b.Elapsed().Seconds(), "instances/s")
		})
	}
}

func BenchmarkEncodeBatch(b *testing.B) {
	batches(indextest.Population{Seed: 3}, 120, 1<<30, func(one index.Batch) {
		p, err := index.EncodeBatch(one)
		if err != nil {
			b.Fatal(err)
		}
		b.Run("encode", func(b *testing.B) {
			for b.Loop() {
				if _, err := index.EncodeBatch(one); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(p)/len(one.Received)), "B/instance")
		})
		b.Run("decode", func(b *testing.B) {
			for b.Loop() {
				if _, err := index.DecodeBatch(p); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}

func BenchmarkSearch(b *testing.B) {
	x, err := index.Open(b.Context(), index.Options{Path: filepath.Join(b.TempDir(), "index.db")})
	if err != nil {
		b.Fatal(err)
	}
	defer x.Close()
	p := indextest.Population{Seed: 4, MaxSeries: 2, MaxInstances: 1}
	batches(p, *studies, 2000, func(one index.Batch) { apply(b, x, one) })

	condition := func(v string, path ...dicom.Tag) index.Condition { return index.Condition{Path: path, Value: v} }
	for _, c := range []struct {
		name string
		q    index.Query
	}{
		{"first page of 100", index.Query{Level: index.Study, Limit: 100}},
		{"page at 10000", index.Query{Level: index.Study, Limit: 100, Offset: 10_000}},
		{"StudyInstanceUID", index.Query{Level: index.Study, Match: []index.Condition{condition(p.Study(77)[0].Key.StudyInstanceUID, 0x0020000D)}}},
		{"PatientID", index.Query{Level: index.Study, Match: []index.Condition{condition(first(p.Study(77)[0].Attributes, 0x00100020), 0x00100020)}}},
		{"PatientName and a month, 25", index.Query{Level: index.Study, Limit: 25, Match: []index.Condition{condition("oberle^*", 0x00100010), condition("20200301-20200331", 0x00080020)}}},
		{"PatientName begins, 25", index.Query{Level: index.Study, Limit: 25, Match: []index.Condition{condition("mull*", 0x00100010)}}},
		{"PatientName prefix, page", index.Query{Level: index.Study, Limit: 100, Match: []index.Condition{condition("oberle^j*", 0x00100010)}}},
		{"PatientName and a year", index.Query{Level: index.Study, Limit: 100, Match: []index.Condition{condition("oberle^*", 0x00100010), condition("20200101-20201231", 0x00080020)}}},
		{"PatientName inside", index.Query{Level: index.Study, Limit: 100, Match: []index.Condition{condition("*odile*", 0x00100010)}}},
		{"month and modality", index.Query{Level: index.Study, Limit: 100, Match: []index.Condition{condition("20200301-20200331", 0x00080020), condition("MG", 0x00080061)}}},
		{"modality at series", index.Query{Level: index.Series, Limit: 100, Match: []index.Condition{condition("SR", 0x00080060)}}},
		{"StudyDescription", index.Query{Level: index.Study, Limit: 100, Match: []index.Condition{condition("*genou*", 0x00081030)}}},
		{"nothing found by StudyDescription", index.Query{Level: index.Study, Limit: 100, Match: []index.Condition{condition("*nowhere*", 0x00081030)}}},
	} {
		b.Run(c.name, func(b *testing.B) {
			n := 0
			for b.Loop() {
				n = len(search(b, x, c.q))
			}
			b.ReportMetric(float64(n), "answers")
		})
	}
}

// TestListOf20000UIDs asks for more UIDs than most databases take parameters.
func TestListOf20000UIDs(t *testing.T) {
	x := open(t)
	p := indextest.Population{Seed: 5, MaxSeries: 1, MaxInstances: 1}
	batches(p, 500, 500, func(b index.Batch) { apply(t, x, b) })
	var list strings.Builder
	for n := range 20_000 {
		fmt.Fprintf(&list, "1.2.826.0.1.3680043.10.1.5.%d,", n)
	}
	for _, level := range []index.Level{index.Study, index.Series} {
		if got := search(t, x, index.Query{Level: level, Match: []index.Condition{{Path: []dicom.Tag{0x0020000D}, Value: list.String()}}}); len(got) != 500 {
			t.Errorf("level %d: %d answers", level, len(got))
		}
	}
}
