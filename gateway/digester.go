package gateway

import (
	"crypto/sha256"
	"hash"
	"hash/crc32"
	"io"
	"sync"

	"github.com/esante-alsace/cigogne/storage"
)

const (
	// chunk is how much is read from a sender at once.
	chunk = 64 << 10
	// chunks is how many of them one instance takes in turn: while one is
	// received, those before it are digested.
	chunks = 4
)

// digester reads a body by chunks and computes its sums. The SHA-256 takes
// longer than all else that is done to a chunk: beyond the first chunk it is
// computed on another core.
type digester struct {
	body   io.Reader
	digest hash.Hash
	crc    uint32
	size   int64

	buffers *[chunks][chunk]byte
	turn    int
	full    chan []byte   // to be digested; nil until there is a second chunk
	free    chan struct{} // one for each buffer that may be filled
	done    sync.WaitGroup
}

// newDigester begins with the CRC-32 of what stands before the body. close
// must be called.
func newDigester(body io.Reader, crc uint32, buffers *[chunks][chunk]byte) *digester {
	return &digester{body: body, digest: sha256.New(), crc: crc, buffers: buffers}
}

// next reads a chunk, which is valid until the call after the next. It
// returns io.EOF with the last.
func (d *digester) next() ([]byte, error) {
	if d.full != nil {
		<-d.free
	}
	p := d.buffers[d.turn%chunks][:]
	d.turn++
	n, err := d.fill(p)
	p = p[:n]
	d.size += int64(n)
	d.crc = crc32.Update(d.crc, crc32.IEEETable, p)
	switch {
	case d.full != nil:
		d.full <- p
	case err == nil:
		d.start()
		d.full <- p
	default: // it is all there is
		d.digest.Write(p)
	}
	return p, err
}

// fill reads until p is full or the body ends or fails.
func (d *digester) fill(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = d.body.Read(p[n:])
		n += m
	}
	return n, err
}

func (d *digester) start() {
	d.full = make(chan []byte, chunks)
	d.free = make(chan struct{}, chunks)
	for range chunks - 1 {
		d.free <- struct{}{}
	}
	d.done.Go(func() {
		for p := range d.full {
			d.digest.Write(p)
			d.free <- struct{}{}
		}
	})
}

// close waits until all that was read is digested.
func (d *digester) close() {
	if d.full != nil {
		close(d.full)
		d.done.Wait()
		d.full = nil
	}
}

// sum is the Digest, after close.
func (d *digester) sum() (s storage.Digest) {
	d.digest.Sum(s[:0])
	return s
}
