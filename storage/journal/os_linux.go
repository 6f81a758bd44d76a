package journal

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// maxVectors is how many buffers one pwritev takes (IOV_MAX).
const maxVectors = 1024

// writev writes with one system call as long as the kernel takes it whole.
// It uses up bufs.
func writev(f *os.File, bufs [][]byte, off int64) error {
	for len(bufs) > 0 {
		n, err := unix.Pwritev(int(f.Fd()), bufs[:min(len(bufs), maxVectors)], off)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return &os.PathError{Op: "pwritev", Path: f.Name(), Err: err}
		}
		if bufs, err = advance(bufs, n); err != nil {
			return &os.PathError{Op: "pwritev", Path: f.Name(), Err: err}
		}
		off += int64(n)
	}
	return nil
}

// advance drops n bytes from the front of bufs; writing nothing of something
// is an error, lest the writer turns for ever.
func advance(bufs [][]byte, n int) ([][]byte, error) {
	wrote := n > 0
	for len(bufs) > 0 && n >= len(bufs[0]) {
		n -= len(bufs[0])
		bufs = bufs[1:]
	}
	if len(bufs) > 0 {
		if !wrote {
			return nil, io.ErrShortWrite
		}
		bufs[0] = bufs[0][n:]
	}
	return bufs, nil
}

func datasync(f *os.File) error {
	if err := retry(func() error { return unix.Fdatasync(int(f.Fd())) }); err != nil {
		return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
	}
	return nil
}

func preallocate(f *os.File, off, n int64) error {
	return retry(func() error {
		return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, off, n)
	})
}

func writeback(f *os.File, off, n int64) error {
	err := startWriteback(f, off, n)
	if err == nil && off >= n {
		err = syncRange(f, off-n, n, unix.SYNC_FILE_RANGE_WAIT_BEFORE|
			unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
	}
	return err
}

// startWriteback does not wait, for who waits is told of failures that the next
// fsync then is not.
func startWriteback(f *os.File, off, n int64) error {
	return syncRange(f, off, n, unix.SYNC_FILE_RANGE_WRITE)
}

func syncRange(f *os.File, off, n int64, how int) error {
	err := retry(func() error { return unix.SyncFileRange(int(f.Fd()), off, n, how) })
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		return nil // this file system can't, and has lost nothing by it
	}
	return &os.PathError{Op: "sync_file_range", Path: f.Name(), Err: err}
}

func dropCache(f *os.File) {
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) // advice
}

func lock(d *os.File, shared bool) error {
	how := unix.LOCK_EX
	if shared {
		how = unix.LOCK_SH
	}
	err := retry(func() error { return unix.Flock(int(d.Fd()), how|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("%s is in use by another process: %w", d.Name(), err)
	}
	return err
}

func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
