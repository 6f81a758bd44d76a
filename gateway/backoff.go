package gateway

import (
	"math/rand/v2"
	"time"
)

const (
	backoffLeast = time.Second
	backoffMost  = 10 * time.Minute
)

// Backoff is how long to wait after so many failures of another system: from a
// second to ten minutes, ever longer, and shortened by chance, so that what
// failed together does not come together.
func Backoff(attempts int64) time.Duration {
	most := min(backoffLeast<<min(attempts, 20), backoffMost)
	return most/2 + rand.N(most/2) //nolint:gosec // no secret
}
