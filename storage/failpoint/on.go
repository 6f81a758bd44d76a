//go:build failpoints

package failpoint

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// Enabled tells whether the program dies at failpoints when it is told to.
const Enabled = true

var passed atomic.Int64 //nolint:gochecknoglobals // of the one gap that the process watches

// Pass passes a gap, or kills the process there.
func Pass(name string) {
	gap, count, counted := strings.Cut(os.Getenv(Variable), "=")
	if gap != name {
		return
	}
	at := int64(1)
	if counted {
		if n, err := strconv.ParseInt(count, 10, 64); err == nil {
			at = n
		}
	}
	if passed.Add(1) == at {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // it does not return
		select {}
	}
}
