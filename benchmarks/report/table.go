// Package report shows results to people: as a table in a terminal, and as a
// page with plots that needs nothing but itself.
package report

import (
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/esante-alsace/cigogne/benchmarks"
	"github.com/esante-alsace/cigogne/benchmarks/result"
)

// view is a file in the order in which it is shown.
type view struct{ *result.File }

// primary are the rows of a workload's primary measure.
func (v view) primary(w result.Workload) []result.Row {
	var rows []result.Row
	for _, r := range v.Rows {
		if r.Workload == w.Name && r.Measure == w.Primary {
			rows = append(rows, r)
		}
	}
	return rows
}

// ours is the row that the others are compared with.
func (v view) ours(w result.Workload) (result.Row, bool) {
	if r, ok := v.Row(w.Name, "cigogne", w.Primary); ok {
		return r, true
	}
	for _, r := range v.primary(w) {
		if r.Role == result.Ours {
			return r, true
		}
	}
	return result.Row{}, false
}

// sides are the measures shown beside the primary one.
func sides() []result.Measure {
	return []result.Measure{
		result.Throughput, result.Instances, result.Requests, result.FirstByte, result.P50, result.P99,
		result.Exponent, result.LineShare, result.CPUPerGB, result.PeakRSS, result.DiskPerUnit,
		result.DiskIndex, result.DiskJournal, result.DiskPacks, result.IndexPerStudy,
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
func (v view) figure(w result.Workload, subject string, m result.Measure) string {
	r, ok := v.Row(w.Name, subject, m)
	if !ok || r.Max == 0 {
		return "-"
	}
	return cell(r.Median)
}

// shown are the side measures that any subject of the workload has.
func (v view) shown(w result.Workload) []result.Measure {
	var out []result.Measure
	for _, m := range sides() {
		taken := slices.ContainsFunc(v.Rows, func(r result.Row) bool {
			return r.Workload == w.Name && r.Measure == m && r.Max > 0
		})
		if taken && m != w.Primary {
			out = append(out, m)
		}
	}
	return out
}

// lines are the table of a workload: the head, then a line for each subject.
func (v view) lines(w result.Workload) [][]string {
	shown := v.shown(w)
	head := []string{w.Name, string(w.Primary), "min", "max", "ours is"}
	for _, m := range shown {
		head = append(head, string(m))
	}
	all := [][]string{head}
	ours, have := v.ours(w)
	for _, r := range v.primary(w) {
		ratio := ""
		if have && r.Subject != ours.Subject {
			ratio = cell(result.Ratio(ours, r)) + "x"
		}
		line := []string{r.Subject, cell(r.Median), cell(r.Min), cell(r.Max), ratio}
		for _, m := range shown {
			line = append(line, v.figure(w, r.Subject, m))
		}
		all = append(all, line)
	}
	return all
}

// Table writes all workloads, then the aims, then what makes it doubtful.
func Table(w io.Writer, f *result.File) error {
	v := view{f}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, work := range f.Workloads {
		for _, line := range v.lines(work) {
			fmt.Fprintln(t, strings.Join(line, "\t")+"\t")
		}
		fmt.Fprintln(t)
	}
	for _, verdict := range benchmarks.Judge(f) {
		fmt.Fprintf(t, "%s\t%s\t%s\t\n", verdict.Aim, cell(verdict.Got), met(verdict.Met))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if f.Seconds > 0 {
		fmt.Fprintf(w, "took %.0f s:", f.Seconds)
		for _, work := range f.Workloads {
			fmt.Fprintf(w, " %s %.0f", work.Name, work.Seconds)
		}
		fmt.Fprintln(w)
	}
	for subject, promise := range sorted(f.Promises) {
		fmt.Fprintf(w, "%s: %s\n", subject, promise)
	}
	for _, n := range f.Notes {
		fmt.Fprintln(w, "note:", n)
	}
	return nil
}

func met(yes bool) string {
	if yes {
		return "met"
	}
	return "missed"
}

// sorted yields a map by its keys.
func sorted(m map[string]string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}
