package dir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/esante-alsace/cigogne/storage"
)

// stagedFile is a file in the staging folder. It is locked as long as it is
// open, which tells sweep that somebody is writing it.
type stagedFile struct {
	*os.File
	name string // from the root
}

// createStaged makes a new staged file. The caller must discard it.
func (a *Archive) createStaged() (*stagedFile, error) {
	for {
		name := filepath.Join(staging, strconv.Itoa(os.Getpid())+"-"+strconv.FormatUint(a.next.Add(1), 10))
		f, err := a.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o640)
		if errors.Is(err, fs.ErrExist) { // of another Archive, or of a crashed process
			continue
		}
		if err != nil {
			return nil, err
		}
		if lock(f) == nil && a.isStill(f, name) {
			return &stagedFile{f, name}, nil
		}
		f.Close() // swept between its creation and its locking
	}
}

// isStill tells whether a name of the root is that of an open file.
func (a *Archive) isStill(f *os.File, name string) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := a.root.Lstat(name)
	return err == nil && os.SameFile(mine, there)
}

// discard closes a staged file and removes its name. What remains after an
// error is swept at the next Open.
func (a *Archive) discard(f *stagedFile) {
	_ = a.root.Remove(f.name)
	f.Close()
}

// sweep removes the staged files that nobody is writing.
func (a *Archive) sweep() error {
	entries, err := fs.ReadDir(a.root.FS(), staging)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := filepath.Join(staging, e.Name())
		f, err := a.root.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if lock(f) == nil {
			err = a.root.Remove(name)
		}
		f.Close()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// lock takes the lock of an open file, or fails at once.
func lock(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

// Check implements archive.Archive: it writes a block and syncs it.
func (a *Archive) Check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f, err := a.createStaged()
	if err == nil {
		defer a.discard(f)
		_, err = f.Write(make([]byte, 4096))
	}
	if err == nil {
		err = f.Sync()
	}
	if err = explain("check", a.path, err); err != nil && !errors.Is(err, storage.ErrFull) {
		return fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
	}
	return err
}
