package result_test

import (
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/benchmarks/result"
)

func file(rows ...result.Row) *result.File { return &result.File{Rows: rows} }

func rate(subject string, role result.Role, values ...float64) result.Row {
	return result.NewRow("w", subject, role, result.Throughput, values)
}

func TestCompareNamesWhatMovedBeyondNoise(t *testing.T) {
	latency := func(v ...float64) result.Row { return result.NewRow("w", "cigogne", result.Ours, result.P50, v) }
	tests := []struct {
		name     string
		old, now *result.File
		want     []float64 // by how much
	}{
		{"the same", file(rate("cigogne", result.Ours, 100, 101, 99)), file(rate("cigogne", result.Ours, 95, 96, 94)), nil},
		{"slower", file(rate("cigogne", result.Ours, 100, 101, 99)), file(rate("cigogne", result.Ours, 80, 81, 79)), []float64{-0.2}},
		{"faster", file(rate("cigogne", result.Ours, 100, 101, 99)), file(rate("cigogne", result.Ours, 150, 151, 149)), []float64{0.5}},
		{"later is worse", file(latency(10, 10, 10)), file(latency(15, 15, 15)), []float64{-0.5}},
		{"within a wide spread", file(rate("cigogne", result.Ours, 60, 100, 140)), file(rate("cigogne", result.Ours, 80, 80, 80)), nil},
		{
			"the machine was slower, not we",
			file(rate("cigogne", result.Ours, 100, 100, 100), rate("bare", result.Limit, 200, 200, 200)),
			file(rate("cigogne", result.Ours, 50, 50, 50), rate("bare", result.Limit, 100, 100, 100)), nil,
		},
		{"peers are not ours to judge", file(rate("orthanc", result.Peer, 100, 100)), file(rate("orthanc", result.Peer, 10, 10)), nil},
		{"what is new has no past", file(), file(rate("cigogne", result.Ours, 1, 1)), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			changes := result.Compare(tt.old, tt.now)
			if len(changes) != len(tt.want) {
				t.Fatalf("changes %+v, want %v", changes, tt.want)
			}
			for i, c := range changes {
				if d := c.By - tt.want[i]; d < -0.001 || d > 0.001 {
					t.Errorf("moved by %v, want %v", c.By, tt.want[i])
				}
			}
		})
	}
}

func TestRatioIsTheMedianOfTheRoundsOwn(t *testing.T) {
	// The second round was slow for both: 2, 2 and 3 times, not 40/20.
	a, b := rate("a", result.Ours, 40, 4, 60), rate("b", result.Peer, 20, 2, 20)
	if got := result.Ratio(a, b); got != 2 {
		t.Errorf("ratio %v, want 2", got)
	}
	fast := result.NewRow("w", "a", result.Ours, result.P50, []float64{1})
	slow := result.NewRow("w", "b", result.Peer, result.P50, []float64{4})
	if got := result.Ratio(fast, slow); got != 4 {
		t.Errorf("ratio of latencies %v, want 4: above 1 is better", got)
	}
}

func TestHistoryIsInTheOrderOfTime(t *testing.T) {
	dir := t.TempDir()
	day := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i, commit := range []string{"fff", "aaa"} {
		f := file(rate("cigogne", result.Ours, 1))
		f.Taken, f.Commit = day.Add(time.Duration(i)*time.Hour), commit
		if _, err := f.Write(dir); err != nil {
			t.Fatal(err)
		}
	}
	files, err := result.History(dir)
	if err != nil || len(files) != 2 || files[0].Commit != "fff" || files[1].Commit != "aaa" {
		t.Fatalf("%v, %v", files, err)
	}
}

// TestWriteKeepsWhatWasThere: a machine that fails while a file is written
// again leaves what was measured before.
func TestWriteKeepsWhatWasThere(t *testing.T) {
	dir := t.TempDir()
	f := &result.File{Notes: []string{"before"}}
	path, err := f.Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	f.Notes = []string{"after"}
	if _, err := f.Write(dir); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(before); err != nil || !strings.Contains(string(b), "before") {
		t.Errorf("%q, %v", b, err)
	}
	if now, err := result.Read(path); err != nil || now.Notes[0] != "after" {
		t.Errorf("%+v, %v", now, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
}
