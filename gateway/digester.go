package gateway

import (
	"hash/crc32"
	"io"
	"sync"

	"github.com/esante-alsace/cigogne/storage"
)

const (
	// chunk is how much is read from a sender at once.
	chunk = 64 << 10
	// chunks is how many of them a large instance takes in turn: while one is
	// received, those before it are digested.
	chunks = 4
	// digestLater bounds the instances that are digested when all of them has
	// come. It is below journal.DefaultInlineBytes: their bytes are in memory.
	digestLater = 768 << 10
)

// digester reads a body by chunks and computes its sums. The Digest takes
// longer than all else that is done to a chunk. Of an instance that fits into
// memory it is computed later, while the disk is at work; of a larger one
// beside the receiving, on another core. Of one that is a single chunk it is
// computed at once: to wake another core would cost as much.
type digester struct {
	body   io.Reader
	digest *storage.Digester
	crc    uint32
	size   int64

	buffers *[chunks][chunk]byte
	turn    int
	full    chan []byte   // to be digested; nil before start
	free    chan struct{} // one for each buffer that may be filled
	done    sync.WaitGroup
}

// newDigester begins with the CRC-32 of what stands before the body. close
// must be called.
func newDigester(body io.Reader, crc uint32, buffers *[chunks][chunk]byte) *digester {
	return &digester{body: body, digest: storage.NewDigester(), crc: crc, buffers: buffers}
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
	if d.full != nil {
		d.full <- p
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

// due tells whether the instance has grown too large to be digested later.
func (d *digester) due() bool { return d.full == nil && d.size > digestLater }

// start digests what has come so far, and from now on on another core.
func (d *digester) start(soFar [][]byte) {
	for _, p := range soFar {
		d.digest.Write(p)
	}
	d.full = make(chan []byte, chunks)
	d.free = make(chan struct{}, chunks)
	for range chunks {
		d.free <- struct{}{}
	}
	d.done.Go(func() {
		for p := range d.full {
			d.digest.Write(p)
			d.free <- struct{}{}
		}
	})
}

// small digests a Data Set that is a single chunk, of which start was not
// called. It tells whether it is one.
func (d *digester) small() bool {
	if d.size > chunk {
		return false
	}
	d.digest.Write(d.buffers[0][:d.size])
	return true
}

// close waits until all that was read since start is digested.
func (d *digester) close() {
	if d.full != nil {
		close(d.full)
		d.done.Wait()
		d.full = nil
	}
}

// sum is the Digest of an instance for which start was called, after close, or
// of a small one.
func (d *digester) sum() storage.Digest { return d.digest.Digest() }

// digestOf is the Digest of a Data Set in pieces.
func digestOf(pieces [][]byte) storage.Digest {
	h := storage.NewDigester()
	for _, p := range pieces {
		h.Write(p)
	}
	return h.Digest()
}
