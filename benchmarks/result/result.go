// Package result is what a run of the benchmarks has found: figures with the
// machine, the commit and the settings that they were taken with.
package result

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/esante-alsace/cigogne/benchmarks/proc"
)

// File is one run of the benchmarks.
type File struct {
	Taken    time.Time         `json:"taken"`
	Commit   string            `json:"commit"`
	Dirty    bool              `json:"dirty,omitempty"` // there were changes beyond the commit
	Quick    bool              `json:"quick,omitempty"`
	Machine  proc.Machine      `json:"machine"`
	Versions map[string]string `json:"versions"`
	// Promises says for each subject what is safe of what it acknowledges.
	Promises map[string]string `json:"promises"`
	// Seconds is how long all of it took.
	Seconds float64 `json:"seconds,omitempty"`
	// Workloads are those that were run, in their order.
	Workloads []Workload `json:"workloads"`
	Rows      []Row      `json:"rows"`
	// Notes say what makes figures doubtful, and what was left out.
	Notes []string `json:"notes,omitempty"`
}

// Workload describes a workload to who reads the file.
type Workload struct {
	Name    string  `json:"name"`
	Title   string  `json:"title"`
	Primary Measure `json:"primary"`
	// Seconds is how long it took: subjects filled, warmed up, measured and
	// ended.
	Seconds float64 `json:"seconds,omitempty"`
}

// Row is one measure of one subject under one workload.
type Row struct {
	Workload string    `json:"workload"`
	Subject  string    `json:"subject"`
	Role     Role      `json:"role"`
	Measure  Measure   `json:"measure"`
	Values   []float64 `json:"values"` // one for each round, in order
	Median   float64   `json:"median"`
	Min      float64   `json:"min"`
	Max      float64   `json:"max"`
}

// Role is what a subject is in a comparison.
type Role string

// The roles.
const (
	Ours  Role = "ours"
	Peer  Role = "peer"
	Limit Role = "limit" // what the machine allows
)

// Measure names what is measured, with its unit behind a space.
type Measure string

// The measures.
const (
	Throughput    Measure = "rate MB/s" // 10^6 bytes
	Instances     Measure = "rate instances/s"
	Requests      Measure = "rate requests/s"
	FirstByte     Measure = "first-byte ms"
	LastByte      Measure = "last-byte ms"
	P50           Measure = "p50 ms"
	P99           Measure = "p99 ms"
	CPUPerGB      Measure = "cpu s/GB"
	CPUPerUnit    Measure = "cpu ms/request"
	PeakRSS       Measure = "peak-rss MB"
	DiskPerUnit   Measure = "disk B/instance"
	DiskIndex     Measure = "index B/instance"
	DiskJournal   Measure = "journal B/instance"
	DiskPacks     Measure = "packs B/instance"
	IndexPerStudy Measure = "index B/study"
	LineShare     Measure = "line-share %"
	Exponent      Measure = "growth exponent"
	ForeignShare  Measure = "foreign-cpu %"
	S3Requests    Measure = "s3 requests"
)

// Unit is the measure's unit.
func (m Measure) Unit() string {
	_, unit, _ := strings.Cut(string(m), " ")
	return unit
}

// LowerIsBetter tells the direction.
func (m Measure) LowerIsBetter() bool {
	return !strings.HasPrefix(string(m), "rate ") && m != LineShare
}

// NewRow is a row with its statistics.
func NewRow(workload, subject string, role Role, m Measure, values []float64) Row {
	sorted := slices.Sorted(slices.Values(values))
	return Row{
		Workload: workload, Subject: subject, Role: role, Measure: m, Values: values,
		Median: Median(values), Min: sorted[0], Max: sorted[len(sorted)-1],
	}
}

// Median is the middle of the values; 0 when there is none.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// Spread is how far minimum and maximum lie apart, as a share of the median.
func (r Row) Spread() float64 {
	if r.Median == 0 {
		return 0
	}
	return (r.Max - r.Min) / r.Median
}

// Ratio is how often r is the other, the median of the rounds' own ratios:
// what slowed a round down slowed both. Above 1 is always better.
func Ratio(r, other Row) float64 {
	var ratios []float64
	for i := range min(len(r.Values), len(other.Values)) {
		a, b := r.Values[i], other.Values[i]
		if r.Measure.LowerIsBetter() {
			a, b = b, a
		}
		if b > 0 {
			ratios = append(ratios, a/b)
		}
	}
	return Median(ratios)
}

// Row finds a row.
func (f *File) Row(workload, subject string, m Measure) (Row, bool) {
	for _, r := range f.Rows {
		if r.Workload == workload && r.Subject == subject && r.Measure == m {
			return r, true
		}
	}
	return Row{}, false
}

// Name is the file's name in a directory of results; names sort by time.
func (f *File) Name() string {
	dirty := ""
	if f.Dirty {
		dirty = "-dirty"
	}
	return fmt.Sprintf("%s-%s%s.json", f.Taken.UTC().Format("2006-01-02T150405"), f.Commit, dirty)
}

// Write writes the file below dir and returns its path. One that is there keeps
// what it has until all is written.
func (f *File) Write(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	b, err := json.MarshalIndent(f, "", "\t")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, f.Name())
	if err := os.WriteFile(path+".new", append(b, '\n'), 0o644); err != nil {
		return "", err
	}
	return path, os.Rename(path+".new", path)
}

// Read reads one file.
func Read(path string) (*File, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f := &File{}
	if err := json.Unmarshal(b, f); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// History reads all files of a directory, the oldest first.
func History(dir string) ([]*File, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	slices.Sort(paths)
	var files []*File
	for _, p := range paths {
		f, err := Read(p)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}
