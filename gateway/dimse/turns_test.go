package dimse

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestTurns: however few places there are, one host leaves one to others, unless
// there is but one; and nothing is kept of hosts that have none.
func TestTurns(t *testing.T) {
	for most, ofOne := range []int{1: 1, 2: 1, 3: 2, 4: 3, 16: 12} {
		if ofOne == 0 {
			continue
		}
		synctest.Test(t, func(t *testing.T) {
			turns := newTurns(most)
			var leave []func()
			take := func(host string) bool {
				bounded, end := context.WithTimeout(t.Context(), time.Second)
				defer end()
				l, err := turns.take(bounded, host)
				if err == nil {
					leave = append(leave, l)
				}
				return err == nil
			}
			for n := range ofOne + 1 {
				if got := take("slow"); got != (n < ofOne) {
					t.Errorf("place %d of %d for one host: %v", n+1, most, got)
				}
			}
			for n := range most - ofOne + 1 {
				if got := take("another"); got != (n < most-ofOne) {
					t.Errorf("place %d of those that are left of %d: %v", n+1, most, got)
				}
			}
			for _, l := range leave {
				l()
			}
			if len(turns.all) > 0 || len(turns.hosts) > 0 {
				t.Errorf("%d places and %d hosts are kept", len(turns.all), len(turns.hosts))
			}
		})
	}
}
