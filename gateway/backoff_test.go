package gateway

import "testing"

// TestBackoff: ever longer, never for ever, and not all at once.
func TestBackoff(t *testing.T) {
	for attempts := range int64(100) {
		most := min(backoffLeast<<min(attempts, 20), backoffMost)
		if d := Backoff(attempts); d < most/2 || d > most {
			t.Errorf("after %d failures: %v", attempts, d)
		}
	}
}
