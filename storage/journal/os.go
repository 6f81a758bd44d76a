package journal

import (
	"io"
	"os"
	"time"

	"github.com/esante-alsace/cigogne/storage"
)

// osFS is the operating system's file system. What differs between systems
// is in os_linux.go and os_other.go.
type osFS struct{}

func (osFS) MkdirAll(dir string) error { return os.MkdirAll(dir, 0o700) }

func (osFS) ReadDir(dir string) (map[string]int64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	sizes := make(map[string]int64, len(entries))
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		sizes[e.Name()] = info.Size()
	}
	return sizes, nil
}

func (osFS) Create(name string) (File, error) {
	return openOS(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

func (osFS) Open(name string) (File, error) { return openOS(name, os.O_RDONLY) }

func (osFS) Reopen(name string) (File, error) {
	f, err := openOS(name, os.O_RDWR)
	if err != nil {
		return nil, err
	}
	// A process whose fsync failed may have left pages that memory calls
	// clean and the disk never got: drop them, so that the disk is read.
	if err := f.Sync(); err != nil {
		return nil, closeAfter(f, err)
	}
	dropCache(f.File)
	return f, nil
}

func (osFS) Remove(name string) error { return os.Remove(name) }

func (osFS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return closeAfter(d, d.Sync())
}

func (osFS) LockDir(dir string, shared bool) (io.Closer, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := lock(d, shared); err != nil {
		return nil, closeAfter(d, err)
	}
	return d, nil
}

type osFile struct{ *os.File }

func openOS(name string, flags int) (*osFile, error) {
	f, err := os.OpenFile(name, flags, 0o600)
	if err != nil {
		return nil, err
	}
	return &osFile{f}, nil
}

func (f *osFile) Stat() (int64, time.Time, error) {
	info, err := f.File.Stat()
	if err != nil {
		return 0, time.Time{}, err
	}
	return info.Size(), info.ModTime(), nil
}

func (f *osFile) Stream(r storage.Range) (io.Reader, error) {
	if _, err := f.Seek(r.Offset, io.SeekStart); err != nil {
		return nil, err
	}
	// An *io.LimitedReader around an *os.File is what net.TCPConn.ReadFrom
	// and http.ResponseWriter turn into sendfile.
	return io.LimitReader(f.File, r.Length), nil
}

func (f *osFile) WriteVAt(bufs [][]byte, off int64) error { return writev(f.File, bufs, off) }
func (f *osFile) Preallocate(off, n int64) error          { return preallocate(f.File, off, n) }
func (f *osFile) Writeback(off, n int64) error            { return writeback(f.File, off, n) }
func (f *osFile) StartWriteback(off, n int64) error       { return startWriteback(f.File, off, n) }
func (f *osFile) Sync() error                             { return datasync(f.File) }

// closeAfter closes c and returns err, or the close's error when err is nil.
func closeAfter(c io.Closer, err error) error {
	if cerr := c.Close(); err == nil {
		return cerr
	}
	return err
}
