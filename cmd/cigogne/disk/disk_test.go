package disk

import (
	"testing"
	"time"
)

// TestTrend: when a disk will be full, if it goes on so.
func TestTrend(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	tests := []struct {
		name  string
		notes int
		lost  func(i int) int64 // before the i-th note
		full  time.Duration     // from now; 0 is never
	}{
		{"too little is known", trendLeast - 1, func(i int) int64 { return int64(i) << 30 }, 0},
		{"steadily", 60, func(i int) int64 { return int64(i) << 30 }, 40 * time.Minute},
		{"by steps of five minutes", 60, func(i int) int64 { return int64(i/5*5) << 30 }, 44 * time.Minute},
		{"it stays", 60, func(int) int64 { return 0 }, 0},
		{"it grows", 60, func(i int) int64 { return -int64(i) << 30 }, 0},
		{"too slowly to tell", 60, func(i int) int64 { return int64(i) }, 0},
		{"what is long ago does not count", 2 * trendMost, func(i int) int64 { return int64(max(i-trendMost, 0)) << 20 }, 1700 * time.Hour},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var tr trend
			var value int64
			for i := range tc.notes {
				value = 100<<30 - tc.lost(i)
				tr.add(now.Add(time.Duration(i-tc.notes+1)*time.Minute), value)
			}
			full := tr.zero(now, value)
			if tc.full == 0 {
				if !full.IsZero() {
					t.Errorf("full in %v", full.Sub(now))
				}
				return
			}
			if got := full.Sub(now); got < tc.full*9/10 || got > tc.full*11/10 {
				t.Errorf("full in %v, not %v", got, tc.full)
			}
			if len(tr.notes) > trendMost {
				t.Errorf("%d notes are kept", len(tr.notes))
			}
		})
	}
}
