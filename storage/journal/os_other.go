//go:build !linux

package journal

import "os"

// The journal is made for Linux; elsewhere it works without preallocation,
// early writeback and the lock, which is enough to develop on.

func writev(f *os.File, bufs [][]byte, off int64) error {
	for _, b := range bufs {
		n, err := f.WriteAt(b, off)
		if err != nil {
			return err
		}
		off += int64(n)
	}
	return nil
}

func datasync(f *os.File) error                   { return f.Sync() }
func preallocate(*os.File, int64, int64) error    { return nil }
func writeback(*os.File, int64, int64) error      { return nil }
func startWriteback(*os.File, int64, int64) error { return nil }
func dropCache(*os.File)                          {}
func lock(*os.File, bool) error                   { return nil }
