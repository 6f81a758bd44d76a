package result

import "math"

// LeastChange is what is called a change at the least: a tenth. Below it,
// two runs of the same program differ on a machine that is quiet.
const LeastChange = 0.10

// Change is a measure of ours that moved by more than noise explains.
type Change struct {
	Old, New Row
	// By is the change of the median, as a share of the old one; negative is
	// worse.
	By float64
	// Noise is the share that was taken for noise.
	Noise float64
}

// Compare lists what changed of ours between two runs, with what is worse
// first. Noise is half the larger spread of the two rows' rounds, and
// LeastChange at the least. When both runs measured the same limit, the
// figures are taken relative to it, so that a slower day is not a regression.
func Compare(old, now *File) []Change {
	var worse, better []Change
	for _, n := range now.Rows {
		o, ok := old.Row(n.Workload, n.Subject, n.Measure)
		if n.Role != Ours || n.Measure == ForeignShare || !ok || o.Median == 0 || n.Median == 0 {
			continue
		}
		by := n.Median/o.Median/drift(old, now, n) - 1
		if n.Measure.LowerIsBetter() {
			by = -by
		}
		noise := max(LeastChange, o.Spread()/2, n.Spread()/2)
		switch {
		case by < -noise:
			worse = append(worse, Change{o, n, by, noise})
		case by > noise:
			better = append(better, Change{o, n, by, noise})
		}
	}
	return append(worse, better...)
}

// drift is how much the limit beside r has moved; 1 when that is unknown.
func drift(old, now *File, r Row) float64 {
	for _, l := range now.Rows {
		if l.Role != Limit || l.Workload != r.Workload || l.Measure != r.Measure {
			continue
		}
		o, ok := old.Row(l.Workload, l.Subject, l.Measure)
		if d := l.Median / o.Median; ok && !math.IsNaN(d) && !math.IsInf(d, 0) && d > 0 {
			return d
		}
	}
	return 1
}
