package journal

import (
	"io"
	"time"

	"github.com/esante-alsace/cigogne/storage"
)

// FS is what the journal asks of a file system; tests give one that fails or
// loses power. Names are paths. Errors wrap fs.ErrNotExist and fs.ErrExist
// where they mean it, and syscall.ENOSPC or EDQUOT when space ran out.
type FS interface {
	MkdirAll(dir string) error
	// ReadDir returns the plain files of a folder by name, with their sizes.
	ReadDir(dir string) (map[string]int64, error)
	// Create makes a file that must not exist, for writing and reading.
	Create(name string) (File, error)
	// Open opens for reading alone. It opens a file of its own each time.
	Open(name string) (File, error)
	// Reopen opens for reading and repairing what another process left. What
	// is read afterwards is on the disk, not merely in memory.
	Reopen(name string) (File, error)
	Remove(name string) error
	// SyncDir makes creations and removals in a folder durable.
	SyncDir(dir string) error
	// LockDir takes a lock on a folder that ends with the process, or fails
	// at once when another process holds it.
	LockDir(dir string, shared bool) (io.Closer, error)
}

// File is an open file.
type File interface {
	io.ReaderAt
	io.Closer
	// Stat tells the size, and when bytes were last written, to within what
	// the filesystem's clock ticks.
	Stat() (size int64, modified time.Time, err error)
	// Stream reads a range from start to end; it moves the file's own
	// position, so a File has one Stream at a time. Where there is an
	// *os.File below, it is one that io.Copy hands to the kernel.
	Stream(r storage.Range) (io.Reader, error)
	// WriteVAt writes all the buffers one after another at an offset, or
	// fails, and then any part of them may have been written.
	WriteVAt(bufs [][]byte, off int64) error
	Truncate(size int64) error
	// Preallocate reserves space for a range without changing the size.
	// It is a hint: failing does no harm.
	Preallocate(off, n int64) error
	// Writeback starts writing a range to the disk, and waits for the one
	// before it of the same length, so that a later Sync is short and dirty
	// memory bounded. It promises no durability; but an error is that of Sync,
	// and Sync may not tell of it again.
	Writeback(off, n int64) error
	// StartWriteback starts writing a range of whole pages to the disk, and
	// waits for nothing. What fails then, Sync tells. An error is that it could
	// not be begun: what was written there may be lost, nothing else is, and
	// Sync may not tell of it.
	StartWriteback(off, n int64) error
	// Sync makes the file's bytes and size durable. After an error the
	// bytes written since the last success may be lost for good, even if a
	// second Sync succeeds.
	Sync() error
}
