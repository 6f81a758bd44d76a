package benchmarks

import (
	"math"

	"github.com/esante-alsace/cigogne/benchmarks/result"
)

// Growth adds, for each workload that was also run in a smaller size, how our
// cost grew from the one to the other: the exponent e of size^e. 0 is a cost
// that does not know the size, 1 one that grows with it.
func Growth(f *result.File, work []Workload) {
	smaller := map[string]Workload{}
	for _, w := range work {
		small, ok := smaller[w.Family]
		if w.Size > 0 {
			smaller[w.Family] = w
		}
		if !ok || w.Size <= small.Size {
			continue
		}
		for _, r := range f.Rows {
			if r.Workload != w.Name || r.Measure != w.Primary || r.Role != result.Ours {
				continue
			}
			if before, ok := f.Row(small.Name, r.Subject, r.Measure); ok && before.Median > 0 && r.Median > 0 {
				e := exponent(before.Median, r.Median, float64(w.Size)/float64(small.Size))
				f.Rows = append(f.Rows, result.NewRow(w.Name, r.Subject, r.Role, result.Exponent, []float64{e}))
			}
		}
	}
}

func exponent(before, after, factor float64) float64 {
	return math.Log(after/before) / math.Log(factor)
}
