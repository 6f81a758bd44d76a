package pack

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/esante-alsace/cigogne/storage"
)

// spool keeps what is written to it, in memory up to a limit and beyond it in
// a file that has no name, so that a crash leaves nothing behind.
type spool struct {
	dir   string
	limit int
	mem   []byte
	file  *os.File
	size  int64
}

// Write implements io.Writer; errors wrap storage.ErrFull when the disk is.
func (s *spool) Write(p []byte) (int, error) {
	if s.file == nil && len(s.mem)+len(p) > s.limit {
		if err := s.spill(); err != nil {
			return 0, s.explain(err)
		}
	}
	if s.file == nil {
		s.mem = append(s.mem, p...)
		s.size += int64(len(p))
		return len(p), nil
	}
	n, err := s.file.Write(p)
	s.size += int64(n)
	return n, s.explain(err)
}

// spill moves what is in memory to a file.
func (s *spool) spill() error {
	f, err := os.CreateTemp(s.dir, "pack-*")
	if err != nil {
		return err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return err
	}
	if _, err := f.Write(s.mem); err != nil {
		f.Close()
		return err
	}
	s.file, s.mem = f, nil
	return nil
}

// rewind forgets what was written behind size.
func (s *spool) rewind(size int64) error {
	s.size = size
	if s.file == nil {
		s.mem = s.mem[:size]
		return nil
	}
	if err := s.file.Truncate(size); err != nil {
		return s.explain(err)
	}
	_, err := s.file.Seek(size, io.SeekStart)
	return s.explain(err)
}

func (s *spool) explain(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("pack spool in %q: %w: %w", s.dir, storage.ErrFull, err)
	}
	if err != nil {
		return fmt.Errorf("pack spool in %q: %w", s.dir, err)
	}
	return nil
}

// ReadAt implements io.ReaderAt.
func (s *spool) ReadAt(p []byte, off int64) (int, error) {
	if s.file != nil {
		return s.file.ReadAt(p, off)
	}
	if off < 0 || off > int64(len(s.mem)) {
		return 0, io.EOF
	}
	n := copy(p, s.mem[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Close frees the spool.
func (s *spool) Close() error {
	s.mem = nil
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}
