package gateway

import (
	"hash/crc32"
	"sync"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/journal"
)

const (
	// digestAtOnce bounds the instances that are digested while they pass: to
	// do it later costs as much.
	digestAtOnce = 64 << 10
	// digestLater bounds those that are digested when all of them has come. It
	// is below journal.DefaultInlineBytes: their bytes are in memory. Of a
	// larger one each further piece is digested as it passes.
	digestLater = 768 << 10
)

// digester computes the sums of a Data Set that passes into a journal's entry.
// The Digest takes longer than all else that is done to its bytes. That of an
// instance that fits into memory is therefore computed later, while the disk is
// at work.
type digester struct {
	entry  *journal.Append
	hashes *hashes
	hash   *storage.Digester
	behind bool   // hash lacks what passed
	crc    uint32 // also of what stands before the Data Set
	size   int64
}

// newDigester begins with what stands before the Data Set. close must be
// called.
func newDigester(entry *journal.Append, prefix []byte, h *hashes) *digester {
	return &digester{entry: entry, hashes: h, hash: h.get(), crc: crc32.ChecksumIEEE(prefix)}
}

func (d *digester) close() { d.hashes.put(d.hash) }

// add goes on with p, which is not the entry's yet.
func (d *digester) add(p []byte) error {
	d.crc = crc32.Update(d.crc, crc32.IEEETable, p)
	d.size += int64(len(p))
	if d.size > digestAtOnce && d.size <= digestLater {
		d.behind = true
		return nil
	}
	if d.behind {
		pieces, release, err := d.entry.Share()
		if err != nil {
			return err
		}
		d.hash.Reset()
		write(d.hash, pieces)
		release()
		d.behind = false
	}
	d.hash.Write(p)
	return nil
}

func write(h *storage.Digester, pieces [][]byte) {
	for _, p := range pieces {
		h.Write(p)
	}
}

// sum is the Digest of what is larger than digestLater, and otherwise zero.
func (d *digester) sum() storage.Digest {
	if d.size <= digestLater {
		return storage.Digest{}
	}
	return d.hash.Digest()
}

// late is the Digest of what is not, and otherwise nil. It must be asked for:
// that waits for who computes it.
func (d *digester) late() (*lateDigest, error) {
	switch {
	case d.size > digestLater:
		return nil, nil
	case !d.behind:
		return &lateDigest{digest: d.hash.Digest()}, nil
	}
	pieces, release, err := d.entry.Share()
	if err != nil {
		return nil, err
	}
	l := &lateDigest{pieces: pieces, release: release, hashes: d.hashes}
	go l.sum()
	return l, nil
}

// lateDigest is a Digest that is computed on another core beside what goes on,
// or by who asks for it before that has begun.
type lateDigest struct {
	once    sync.Once
	pieces  [][]byte
	release func() // nil when the Digest is there
	hashes  *hashes
	digest  storage.Digest
}

func (l *lateDigest) sum() storage.Digest {
	l.once.Do(func() {
		if l.release == nil {
			return
		}
		h := l.hashes.get()
		defer l.hashes.put(h)
		write(h, l.pieces)
		l.digest = h.Digest()
		l.release()
		l.pieces, l.release = nil, nil
	})
	return l.digest
}

// hashes keeps Digesters for reuse: one takes 10 KB.
type hashes struct{ pool sync.Pool }

func (h *hashes) get() *storage.Digester {
	if d, ok := h.pool.Get().(*storage.Digester); ok {
		d.Reset()
		return d
	}
	return storage.NewDigester()
}

func (h *hashes) put(d *storage.Digester) { h.pool.Put(d) }
