package archivetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
)

// Bytes is a Source in memory.
type Bytes []byte

// Size implements archive.Source.
func (b Bytes) Size() int64 { return int64(len(b)) }

// Open implements archive.Source.
func (b Bytes) Open(_ context.Context, r storage.Range) (io.ReadCloser, error) {
	if !r.Within(b.Size()) {
		return nil, fmt.Errorf("%w: %+v of %d bytes", storage.ErrInvalid, r, len(b))
	}
	return io.NopCloser(bytes.NewReader(b[r.Offset:r.End()])), nil
}

// ErrSource is how a Failing source fails.
var ErrSource = errors.New("the source failed on purpose")

// Failing is a Source that fails with Err (ErrSource when nil) instead of the
// byte at After. Err io.EOF makes it end early.
type Failing struct {
	archive.Source
	After int64
	Err   error
}

// Open implements archive.Source.
func (f Failing) Open(ctx context.Context, r storage.Range) (io.ReadCloser, error) {
	whole := min(r.Length, max(0, f.After-r.Offset))
	inner, err := f.Source.Open(ctx, storage.Range{Offset: r.Offset, Length: whole})
	if err != nil || whole == r.Length {
		return inner, err
	}
	failure := f.Err
	if failure == nil {
		failure = ErrSource
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(inner, failingReader{failure}), inner}, nil
}

type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }

// Hooked is a Source that calls Hook before each Read with the number of bytes
// read before it by the same reader. A Read yields at most 1 MiB.
type Hooked struct {
	archive.Source
	Hook func(before int64)
}

// Open implements archive.Source.
func (h Hooked) Open(ctx context.Context, r storage.Range) (io.ReadCloser, error) {
	inner, err := h.Source.Open(ctx, r)
	return &hookedReader{ReadCloser: inner, hook: h.Hook}, err
}

type hookedReader struct {
	io.ReadCloser
	hook func(int64)
	n    int64
}

func (h *hookedReader) Read(p []byte) (int, error) {
	h.hook(h.n)
	n, err := h.ReadCloser.Read(p[:min(len(p), 1<<20)])
	h.n += int64(n)
	return n, err
}
