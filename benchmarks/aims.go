package benchmarks

import (
	"fmt"

	"github.com/esante-alsace/cigogne/benchmarks/result"
)

// Aim is what our node shall reach in a workload.
type Aim struct {
	Workload string
	Subject  string // ours; "" is "cigogne"
	Measure  result.Measure
	// Against is the subject that Factor is relative to; without one, Factor
	// is an absolute bound.
	Against string
	Factor  float64
}

// Aims are those of the project, each a ratio within one run where it can be.
func Aims() []Aim {
	return []Aim{
		{"cstore-1", "", result.Throughput, "bare fsync", 0.8},
		{"cstore-1", "", result.Throughput, "orthanc", 25},
		{"cstore-4", "", result.Throughput, "bare fsync", 0.8},
		{"stow-1", "", result.Throughput, "orthanc", 3},
		{"stow-1", "", result.Throughput, "segment fsync 8", 0.6},
		{"stow-4", "", result.Throughput, "orthanc", 3},
		{"stow-4", "", result.Throughput, "segment fsync 8", 0.6},
		{"stow-tiny", "", result.Requests, "orthanc", 5},
		{"wado-study-1", "", result.Throughput, "nginx", 0.95},
		{"wado-study-4", "", result.Throughput, "nginx", 0.95},
		{"wado-study-1", "", result.FirstByte, "", 2},
		{"s3-store", "cigogne s3", result.Throughput, "cigogne packing", 0.9},
		{"s3-study", "cigogne s3", result.Throughput, "one get", 0.8},
		{"s3-study", "cigogne s3", result.S3Requests, "", 6},
		{"wado-instance-1", "", result.Requests, "nginx", 0.7},
		{"wado-instance-4", "", result.Requests, "nginx", 0.7},
		{"wado-frame-1", "", result.Requests, "orthanc", 4},
		{"wado-frame-4", "", result.Requests, "orthanc", 4},
		{"far-frame-1", "", result.P50, "", 5},
		{"far-frame-4", "", result.P50, "", 5},
		{"metadata", "", result.P50, "", 10},
		{"metadata", "cigogne packed", result.P50, "", 10},
		{"qido-1m", "", "p50-study ms", "", 2},
		{"qido-1m", "", "p50-patient ms", "", 2},
		{"qido-1m", "", "p50-day ms", "", 2},
		{"qido-1m", "", "p50-name ms", "", 2},
		{"qido-1m", "", "p50-part ms", "", 2},
		{"qido-1m", "", "p99-name ms", "", 20},
		{"qido-1m", "", "p99-part ms", "", 20},
		{"qido-1m", "", "p99-day ms", "", 20},
		{"qido-1m", "", "p50-page ms", "", 10},
		{"qido-1m", "", "p99-page ms", "", 20},
		{"cstore-1", "", result.CPUPerGB, "", 1.5},
		{"stow-1", "", result.CPUPerGB, "", 1.5},
		{"wado-study-1", "", result.CPUPerGB, "", 0.3},
		{"line-20-in", "cigogne window 16", result.Throughput, "", 90},
		{"line-20-in", "cigogne push", result.Throughput, "", 103},
		{"line-80-in", "cigogne push", result.Throughput, "tcp 4 streams", 0.95},
		{"line-80-in", "cigogne push", result.Throughput, "tcp 8 streams", 0.95},
		{"line-80-in", "cigogne push", result.Throughput, "cigogne storescu x1", 25},
		{"line-80-out", "cigogne pull", result.Throughput, "tcp 4 streams", 0.95},
		{"line-80-out", "cigogne pull", result.Throughput, "tcp 8 streams", 0.95},
		{"line-80-in", "cigogne window 16 x4", result.Throughput, "tcp 4 streams", 0.95},
		{"stow-4", "", result.PeakRSS, "", 150},
		{"cstore-16", "", result.PeakRSS, "", 150},
		{"wado-study-16", "", result.PeakRSS, "", 150},
		{"huge-in", "", result.PeakRSS, "", 150},
		{"huge-out", "", result.PeakRSS, "", 150},
	}
}

// Verdict is an aim beside what was measured.
type Verdict struct {
	Aim
	Got float64 // the ratio, or the figure itself
	Met bool
}

// Judge judges the aims whose workloads are in the file.
func Judge(f *result.File) []Verdict {
	var all []Verdict
	for _, a := range Aims() {
		if a.Subject == "" {
			a.Subject = "cigogne"
		}
		ours, ok := f.Row(a.Workload, a.Subject, a.Measure)
		if !ok {
			continue
		}
		v := Verdict{Aim: a, Got: ours.Median}
		v.Met = a.Measure.LowerIsBetter() == (v.Got <= a.Factor)
		if a.Against != "" {
			other, ok := f.Row(a.Workload, a.Against, a.Measure)
			if !ok {
				continue
			}
			v.Got = result.Ratio(ours, other)
			v.Met = v.Got >= a.Factor
		}
		all = append(all, v)
	}
	return all
}

// String says what was wanted.
func (a Aim) String() string {
	who := ""
	if a.Subject != "" && a.Subject != "cigogne" {
		who = " (" + a.Subject + ")"
	}
	if a.Against != "" {
		return fmt.Sprintf("%s%s: %s at least %g x %s", a.Workload, who, a.Measure, a.Factor, a.Against)
	}
	bound := "at least"
	if a.Measure.LowerIsBetter() {
		bound = "at most"
	}
	return fmt.Sprintf("%s%s: %s %s %g", a.Workload, who, a.Measure, bound, a.Factor)
}
