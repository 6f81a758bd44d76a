// Package report shows results to people: as a table in a terminal, and as a
// page with plots that needs nothing but itself.
package report

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/esante-alsace/cigogne/benchmarks"
	"github.com/esante-alsace/cigogne/benchmarks/result"
)

// view is a file in the order in which it is shown.
type view struct {
	file *result.File
	// primary names the measure that a workload is ranked by.
	primary map[string]result.Measure
}

// workloads are the names in the order of running.
func (v view) workloads() []string {
	var names []string
	for _, r := range v.file.Rows {
		if !slices.Contains(names, r.Workload) {
			names = append(names, r.Workload)
		}
	}
	return names
}

func (v view) subjects(workload string) []result.Row {
	var rows []result.Row
	for _, r := range v.file.Rows {
		if r.Workload == workload && r.Measure == v.primary[workload] {
			rows = append(rows, r)
		}
	}
	return rows
}

// sides are the measures shown beside the primary one.
func sides() []result.Measure {
	return []result.Measure{
		result.Throughput, result.Instances, result.Requests, result.FirstByte, result.P50, result.P99,
		result.LineShare, result.CPUPerGB, result.PeakRSS, result.DiskPerUnit,
	}
}

// cell writes a figure with three digits that mean something.
func cell(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// figure is a side measure of a subject; "-" when it was not taken.
func (v view) figure(workload, subject string, m result.Measure) string {
	r, ok := v.file.Row(workload, subject, m)
	if !ok {
		return "-"
	}
	return cell(r.Median)
}

// shown are the side measures that any subject of the workload has.
func (v view) shown(workload string) []result.Measure {
	var out []result.Measure
	for _, m := range sides() {
		taken := slices.ContainsFunc(v.file.Rows, func(r result.Row) bool {
			return r.Workload == workload && r.Measure == m && r.Max > 0
		})
		if taken && m != v.primary[workload] {
			out = append(out, m)
		}
	}
	return out
}

// Table writes all workloads, then the aims, then the notes.
func Table(w io.Writer, f *result.File, primary map[string]result.Measure) error {
	v := view{f, primary}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, name := range v.workloads() {
		v.table(t, name)
	}
	for _, verdict := range benchmarks.Judge(f) {
		met := "missed"
		if verdict.Met {
			met = "met"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t\n", verdict.Aim, cell(verdict.Got), met)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, n := range f.Notes {
		fmt.Fprintln(w, "note:", n)
	}
	return nil
}

func (v view) table(t io.Writer, workload string) {
	measure, shown := v.primary[workload], v.shown(workload)
	fmt.Fprintf(t, "%s\t%s\tmin\tmax\tours is", workload, measure)
	for _, m := range shown {
		fmt.Fprintf(t, "\t%s", m)
	}
	fmt.Fprintln(t, "\t")
	ours, _ := v.file.Row(workload, "cigogne", measure)
	for _, r := range v.subjects(workload) {
		ratio := ""
		if r.Subject != ours.Subject && len(ours.Values) > 0 {
			ratio = cell(result.Ratio(ours, r)) + "x"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s", r.Subject, cell(r.Median), cell(r.Min), cell(r.Max), ratio)
		for _, m := range shown {
			fmt.Fprintf(t, "\t%s", v.figure(workload, r.Subject, m))
		}
		fmt.Fprintln(t, "\t")
	}
	fmt.Fprintln(t)
}
