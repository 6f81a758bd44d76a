package pusher

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/esante-alsace/cigogne/storage"
)

// errRewritten: a file is not as long as it was when it was found.
var errRewritten = fmt.Errorf("%w: the file changed while it was read", storage.ErrInvalid)

// body is the multipart body of one Store request (PS3.18 §10.5): files, one
// after the other, as long as next gives any. It is read by one goroutine.
type body struct {
	ctx      context.Context
	boundary string
	next     func(sent int64, parts int) *part
	moved    func(n int) // told what is read of files; nil for nobody

	mu     sync.Mutex
	parts  []*part
	bytes  int64
	head   []byte // what is to be sent before the file
	file   *os.File
	left   int64
	sum    *storage.Digester
	skip   int64 // bytes before the Data Set
	last   bool  // the close delimiter is in head
	failed error
	closed chan struct{}
}

// part is an item in a request.
type part struct {
	*item
	// digest is of what was sent, when all of it was.
	digest storage.Digest
	whole  bool
	read   int64
	err    error // of the file
}

// newBody returns a body of what next gives. Its boundary is random: no file
// can have been made to contain it.
func newBody(ctx context.Context, next func(sent int64, parts int) *part) *body {
	return &body{ctx: ctx, boundary: "cigogne-" + rand.Text(), next: next, closed: make(chan struct{})}
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.failed == nil {
		switch {
		case len(b.head) > 0:
			n := copy(p, b.head)
			b.head = b.head[n:]
			return n, nil
		case b.file != nil && b.left > 0:
			return b.readFile(p)
		case b.file != nil:
			b.failed = b.endPart()
		case b.last:
			b.failed = io.EOF
		default:
			b.failed = b.begin()
		}
	}
	return 0, b.failed
}

// begin begins the next part, or ends the body.
func (b *body) begin() error {
	if b.ctx.Err() != nil {
		return context.Cause(b.ctx)
	}
	line := "--" + b.boundary
	if len(b.parts) > 0 {
		line = "\r\n" + line
	}
	p := b.next(b.bytes, len(b.parts))
	if p == nil {
		b.head, b.last = []byte(line+"--\r\n"), true
		return nil
	}
	b.parts = append(b.parts, p)
	f, err := p.open()
	if err != nil {
		p.err = err
		return err
	}
	b.file, b.left, b.skip, b.sum = f, p.size, p.prefix, storage.NewDigester()
	b.head = []byte(line + "\r\nContent-Type: application/dicom\r\n\r\n")
	return nil
}

func (b *body) readFile(p []byte) (int, error) {
	n, err := b.file.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	b.bytes += int64(n)
	one := b.parts[len(b.parts)-1]
	one.read += int64(n)
	if b.moved != nil {
		b.moved(n)
	}
	before := min(b.skip, int64(n))
	b.skip -= before
	b.sum.Write(p[before:n])
	if errors.Is(err, io.EOF) && b.left > 0 {
		err = errRewritten
	}
	if err != nil && !errors.Is(err, io.EOF) {
		one.err, b.failed = err, err
	}
	return n, b.failed
}

// endPart looks whether the file ends where it should, and keeps its digest.
func (b *body) endPart() error {
	p := b.parts[len(b.parts)-1]
	defer func() {
		b.file.Close()
		b.file = nil
	}()
	if n, err := b.file.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		p.err = errRewritten
		return p.err
	}
	p.digest = b.sum.Digest()
	p.whole = true
	return nil
}

// Close implements io.Closer. After it nothing of the body is touched.
func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.closed:
		return nil
	default:
	}
	if b.file != nil {
		b.file.Close()
		b.file = nil
	}
	if b.failed == nil {
		b.failed = io.ErrClosedPipe
	}
	close(b.closed)
	return nil
}
