package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/esante-alsace/cigogne/storage"
)

// Spooled is a stream of unknown length that was written to a file, which
// makes it a Source: a Put needs to know the length and to read again. The
// file has no name, so a crash leaves nothing behind. Close must be called.
type Spooled struct {
	file *os.File
	size int64
}

// Spool reads r to its end into a file in the folder dir. A full disk is
// storage.ErrFull; an error of r is returned wrapped.
func Spool(ctx context.Context, dir string, r io.Reader) (*Spooled, error) {
	f, err := os.CreateTemp(dir, "spool-*")
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	s := &Spooled{file: f}
	err = os.Remove(f.Name())
	if err == nil {
		s.size, err = io.Copy(f, ending{ctx, r})
	}
	if err == nil {
		return s, nil
	}
	f.Close()
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		err = fmt.Errorf("%w: %w", storage.ErrFull, err)
	}
	return nil, fmt.Errorf("spool: %w", err)
}

// Size implements Source.
func (s *Spooled) Size() int64 { return s.size }

// Open implements Source.
func (s *Spooled) Open(_ context.Context, r storage.Range) (io.ReadCloser, error) {
	if !r.Within(s.size) {
		return nil, fmt.Errorf("%w: bytes %d-%d of %d", storage.ErrInvalid, r.Offset, r.End(), s.size)
	}
	return io.NopCloser(io.NewSectionReader(s.file, r.Offset, r.Length)), nil
}

// Close gives the disk space back.
func (s *Spooled) Close() error { return s.file.Close() }

// ending is a reader that ends with its context.
type ending struct {
	ctx context.Context //nolint:containedctx // of one Spool
	io.Reader
}

func (e ending) Read(p []byte) (int, error) {
	if err := e.ctx.Err(); err != nil {
		return 0, err
	}
	return e.Reader.Read(p)
}
