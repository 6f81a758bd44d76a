package dir

import (
	"os"

	"golang.org/x/sys/unix"
)

// forget has the system let go of what it has of a file in memory, so that
// the next read is one of the disk. It is a hint.
func forget(f *os.File) {
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) // read from memory, then
}
