package benchmarks_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/benchmarks"
	"github.com/esante-alsace/cigogne/benchmarks/material"
	"github.com/esante-alsace/cigogne/benchmarks/report"
	"github.com/esante-alsace/cigogne/benchmarks/result"
	"github.com/esante-alsace/cigogne/benchmarks/subject"
	"github.com/esante-alsace/cigogne/benchmarks/workload"
)

// miniature is every kind of work in a size that shows that it works, and
// nothing about how fast it is.
func miniature() []string {
	return []string{
		"cstore-1", "cstore-window-16", "cstore-packing", "morning", "stow-1", "stow-tiny",
		"wado-study-1", "wado-frame-1", "wado-study-first", "s3-store", "s3-study", "metadata", "far-frame-1", "push", "pull",
		"qido-40", "huge-in", "huge-out", "cstore-real", "line-1-in", "line-1-out",
	}
}

// measured runs the miniature.
func measured(t *testing.T) *result.File {
	t.Helper()
	dir := t.TempDir()
	programs, err := subject.Build(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	all := workload.All(workload.Settings{
		Programs: programs, Material: dir, Instances: 6, Studies: []int{40}, PeerStudies: 5,
		Real: filepath.Join(cmp.Or(os.Getenv("CIGOGNE_DICOM_DIR"), "../../shared/dicom"), "series", "mr-ge-epi-150"),
	})
	names := miniature()
	if testing.Short() {
		names = []string{"cstore-window-16", "stow-1", "wado-study-1"}
	}
	chosen, err := workload.Select(all, names)
	if err != nil {
		t.Fatal(err)
	}
	r := &benchmarks.Runner{
		Options: benchmarks.Options{Scratch: dir, Material: dir, Rounds: 1, Target: 10 * time.Millisecond, MaxAmount: 6, Say: t.Logf},
		File:    &result.File{Taken: time.Now(), Commit: "abcdef123", Versions: map[string]string{}, Promises: map[string]string{}},
	}
	defer r.Close()
	for _, w := range chosen {
		if err := r.Run(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
	return r.File
}

// TestRunKeepsWhatWasMeasured: what ends a workload is told, and what was
// measured before is kept.
func TestRunKeepsWhatWasMeasured(t *testing.T) {
	full, rounds := errors.New("no space left"), 0
	dir := t.TempDir()
	r := &benchmarks.Runner{
		Options: benchmarks.Options{Scratch: dir, Material: dir, Rounds: 3, Target: time.Millisecond, Say: t.Logf},
		File:    &result.File{Versions: map[string]string{}, Promises: map[string]string{}},
	}
	err := r.Run(t.Context(), benchmarks.Workload{
		Name: "w", Unit: result.Instances, Primary: result.Instances, Amount: 2,
		Material: func(string, int, uint64) (*material.Series, error) {
			if rounds++; rounds == 3 { // the first warms up
				return nil, full
			}
			return nil, nil
		},
		Cases: []benchmarks.Case{{
			Subject: subject.Client{Title: "client"},
			Drive: func(context.Context, benchmarks.Round) (benchmarks.Work, error) {
				return benchmarks.Work{Units: 1, Elapsed: time.Second}, nil
			},
		}},
	})
	if !errors.Is(err, full) {
		t.Errorf("the error is %v", err)
	}
	if row, ok := r.File.Row("w", "client", result.Instances); !ok || len(row.Values) != 1 || row.Median != 1 {
		t.Errorf("the row is %+v", row)
	}
	if took := r.File.Workloads[0].Seconds; took <= 0 {
		t.Errorf("it took %v s", took)
	}
}

// TestRoundsEndWhenItIsEnough: a workload that takes long has three rounds, one
// that does not has as many as are asked for.
func TestRoundsEndWhenItIsEnough(t *testing.T) {
	for enough, want := range map[time.Duration]int{0: 5, time.Nanosecond: 3, time.Hour: 5} {
		dir := t.TempDir()
		r := &benchmarks.Runner{
			Options: benchmarks.Options{Scratch: dir, Material: dir, Rounds: 5, Enough: enough, Target: time.Millisecond, Say: t.Logf},
			File:    &result.File{Versions: map[string]string{}, Promises: map[string]string{}},
		}
		for _, amount := range []int{1, 2} { // one unit is not warmed up for
			ran := 0
			if err := r.Run(t.Context(), benchmarks.Workload{
				Name: "w", Unit: result.Requests, Primary: result.Requests, Amount: amount,
				Cases: []benchmarks.Case{{
					Subject: subject.Client{Title: "client"},
					Drive: func(_ context.Context, rd benchmarks.Round) (benchmarks.Work, error) {
						ran++
						return benchmarks.Work{Units: rd.Amount, Elapsed: time.Second}, nil
					},
				}},
			}); err != nil {
				t.Fatal(err)
			}
			if warmed := amount - 1; ran-warmed != want {
				t.Errorf("enough is %v, %d units: %d rounds beside %d that warm up, want %d", enough, amount, ran-warmed, warmed, want)
			}
		}
	}
}

// TestASharedSubject: workloads that follow one another fill it once, and it is
// gone when the next one does not share it, or at the end.
func TestASharedSubject(t *testing.T) {
	dir := t.TempDir()
	r := &benchmarks.Runner{
		Options: benchmarks.Options{Scratch: dir, Material: dir, Rounds: 1, Target: time.Millisecond, Say: t.Logf},
		File:    &result.File{Versions: map[string]string{}, Promises: map[string]string{}},
	}
	fills := 0
	run := func(shared ...any) (held int) {
		t.Helper()
		w := benchmarks.Workload{Name: "w", Unit: result.Requests, Primary: result.Requests, Amount: 1}
		for i, s := range shared {
			w.Cases = append(w.Cases, benchmarks.Case{
				Subject: subject.Client{Title: fmt.Sprintf("client %d", i)}, Shared: s,
				Fill: func(context.Context, subject.Endpoints) error { fills++; return nil },
				Drive: func(_ context.Context, rd benchmarks.Round) (benchmarks.Work, error) {
					return benchmarks.Work{Units: rd.Amount, Elapsed: time.Second}, nil
				},
			})
		}
		if err := r.Run(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		kept, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		return len(kept)
	}
	for i, step := range []struct {
		shared      []any
		fills, kept int
	}{
		{[]any{"a", "a", "b", nil, nil}, 4, 2},
		{[]any{"b", "a"}, 4, 2},
		{[]any{"b"}, 4, 1},
		{[]any{"a"}, 5, 1},
		{[]any{nil}, 6, 0},
		{[]any{"a"}, 7, 1},
	} {
		if kept := run(step.shared...); kept != step.kept || fills != step.fills {
			t.Errorf("workload %d: filled %d times, %d directories kept, want %d and %d", i, fills, kept, step.fills, step.kept)
		}
	}
	r.Close()
	if kept, err := os.ReadDir(dir); err != nil || len(kept) != 0 {
		t.Errorf("closed: %v, %v", kept, err)
	}
}

func TestAMiniatureOfEveryWorkload(t *testing.T) {
	if testing.Short() {
		t.Skip("runs every workload")
	}
	f := measured(t)
	for _, w := range f.Workloads {
		if excused(f.Notes, w.Name) {
			continue
		}
		ours := slices.ContainsFunc(f.Rows, func(r result.Row) bool {
			return r.Workload == w.Name && r.Role == result.Ours && r.Measure == w.Primary && r.Median > 0
		})
		if !ours {
			t.Errorf("%s: no figure of ours; notes: %s", w.Name, strings.Join(f.Notes, "\n"))
		}
	}
	dir := t.TempDir()
	path, err := f.Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := result.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if changes := result.Compare(f, again); len(changes) != 0 {
		t.Errorf("a result differs from itself: %v", changes)
	}
	var table strings.Builder
	if err := report.Table(&table, again); err != nil {
		t.Fatal(err)
	}
	if _, err := report.Page(dir); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "report.html"))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range f.Workloads {
		if !strings.Contains(table.String(), w.Name) || !strings.Contains(string(page), w.Name) {
			t.Errorf("%s is not in the table or not on the page", w.Name)
		}
	}
}

// excused tells whether a workload could not run for want of what is not ours:
// storescu, a real series, or the right to make a line.
func excused(notes []string, workload string) bool {
	return slices.ContainsFunc(notes, func(n string) bool {
		return strings.HasPrefix(n, workload) &&
			(strings.Contains(n, subject.ErrMissing.Error()) || strings.Contains(n, "lines cannot be made here") ||
				strings.HasPrefix(n, "cstore-real is left out"))
	})
}

func TestAimsAreJudgedWithinOneRun(t *testing.T) {
	row := func(s string, role result.Role, m result.Measure, v ...float64) result.Row {
		return result.NewRow("cstore-1", s, role, m, v)
	}
	f := &result.File{Rows: []result.Row{
		row("cigogne", result.Ours, result.Throughput, 90, 170),
		row("bare fsync", result.Limit, result.Throughput, 100, 200),
		row("orthanc", result.Peer, result.Throughput, 9, 17),
		row("cigogne", result.Ours, result.CPUPerGB, 1.4, 1.4),
	}}
	got := map[string]bool{}
	for _, v := range benchmarks.Judge(f) {
		got[v.String()] = v.Met
	}
	want := map[string]bool{
		"cstore-1: rate MB/s at least 0.8 x bare fsync": true,
		"cstore-1: rate MB/s at least 25 x orthanc":     false,
		"cstore-1: cpu s/GB at most 1.5":                true,
	}
	for aim, met := range want {
		if is, ok := got[aim]; !ok || is != met {
			t.Errorf("%s: met %v (judged %v), want %v", aim, is, ok, met)
		}
	}
	if len(got) != len(want) {
		t.Errorf("judged %v, of which some were not measured", got)
	}
}

func TestGrowthIsTheExponentBetweenTwoSizes(t *testing.T) {
	row := func(w string, ms float64) result.Row {
		return result.NewRow(w, "cigogne", result.Ours, result.P50, []float64{ms})
	}
	f := &result.File{Rows: []result.Row{row("small", 2), row("large", 20), row("other", 7)}}
	benchmarks.Growth(f, []benchmarks.Workload{
		{Name: "small", Family: "q", Size: 100, Primary: result.P50},
		{Name: "other", Primary: result.P50},
		{Name: "large", Family: "q", Size: 10_000, Primary: result.P50},
	})
	r, ok := f.Row("large", "cigogne", result.Exponent)
	if !ok || r.Median < 0.499 || r.Median > 0.501 {
		t.Errorf("ten times the cost at a hundred times the size: exponent %v (%v), want 0.5", r.Median, ok)
	}
	if len(f.Rows) != 4 {
		t.Errorf("%d rows, one is to be added", len(f.Rows))
	}
}
