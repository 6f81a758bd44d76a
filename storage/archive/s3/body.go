package s3

import (
	"context"
	"errors"
	"io"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
)

// body is a range of a source on its way to the server: as long as announced,
// or failing with an error that is known for the source's. Each attempt opens
// one of its own, so nothing is spooled.
type body struct {
	io.ReadCloser
	at, size int64
	moved    func()
	failed   error // the source's, which the transport may report in its own words
}

func openBody(ctx context.Context, src archive.Source, r storage.Range) (*body, error) {
	rc, err := src.Open(ctx, r)
	if err != nil {
		return nil, sourceError{err}
	}
	return &body{ReadCloser: rc, size: r.Length}, nil
}

func (b *body) Read(p []byte) (int, error) {
	if b.at == b.size {
		return 0, io.EOF
	}
	b.moved()
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.size-b.at)])
	b.at += int64(n)
	switch {
	case b.at == b.size:
		return n, nil
	case errors.Is(err, io.EOF):
		err = readError(io.EOF, b.at, b.size)
	}
	if err != nil {
		b.failed = sourceError{err}
		return n, b.failed
	}
	return n, nil
}

// send opens a body, gives it to f, and returns the source's error in
// preference to what the transport made of it. Each part of it that the
// transport takes is told to moved.
func send(ctx context.Context, moved func(), src archive.Source, r storage.Range, f func(io.Reader) error) error {
	b, err := openBody(ctx, src, r)
	if err != nil {
		return err
	}
	defer b.Close()
	b.moved = moved
	// The transport is given no Close: it might close a body that is read.
	if err = f(struct{ io.Reader }{b}); err != nil && b.failed != nil {
		return b.failed
	}
	return err
}
