package gateway

import (
	"hash/crc32"
	"runtime"
	"sync"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/journal"
)

const (
	// digestAtOnce bounds the instances that are digested while they pass: to
	// do it later costs as much.
	digestAtOnce = 64 << 10
	// digestLater bounds those that may be digested when all of them has come.
	// It is below journal.DefaultInlineBytes: their bytes are in memory. Of a
	// larger one each further piece is digested as it passes.
	digestLater = 768 << 10
)

// digester computes the sums of a Data Set that passes into a journal's entry.
// The Digest takes longer than all else that is done to its bytes. That of an
// instance that fits into memory is therefore computed later, while the disk is
// at work, when there is a core for it: where others come as well, each has one
// of its own, and the bytes are in that one's cache while they pass.
type digester struct {
	entry  *journal.Append
	hashes *hashes
	hash   *storage.Digester // of the first hashed bytes
	hashed int64
	later  bool
	crc    uint32 // also of what stands before the Data Set
	size   int64
}

// newDigester begins with what stands before the Data Set. close must be
// called.
func newDigester(entry *journal.Append, prefix []byte, h *hashes) *digester {
	return &digester{entry: entry, hashes: h, hash: h.get(), crc: crc32.ChecksumIEEE(prefix)}
}

func (d *digester) close() {
	if d.hash != nil {
		d.hashes.put(d.hash)
	}
}

// add goes on with p, which is not the entry's yet.
func (d *digester) add(p []byte) error {
	before := d.size
	d.crc = crc32.Update(d.crc, crc32.IEEETable, p)
	d.size += int64(len(p))
	if before <= digestAtOnce && d.size > digestAtOnce {
		d.later = d.entry.Open() < runtime.GOMAXPROCS(0)
	}
	if d.later && d.size <= digestLater {
		return nil
	}
	if d.hashed < before {
		pieces, release, err := d.entry.Share()
		if err != nil {
			return err
		}
		write(d.hash, pieces, d.hashed)
		release()
	}
	d.hash.Write(p)
	d.hashed = d.size
	return nil
}

// write writes what comes after the first bytes of the pieces, as many as done.
func write(h *storage.Digester, pieces [][]byte, done int64) {
	for _, p := range pieces {
		n := min(done, int64(len(p)))
		done -= n
		h.Write(p[n:])
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
// that waits for who computes it. Nothing may be added any more.
func (d *digester) late() (*lateDigest, error) {
	switch {
	case d.size > digestLater:
		return nil, nil
	case d.hashed == d.size:
		return &lateDigest{digest: d.hash.Digest()}, nil
	}
	pieces, release, err := d.entry.Share()
	if err != nil {
		return nil, err
	}
	l := &lateDigest{hash: d.hash, hashed: d.hashed, pieces: pieces, release: release, hashes: d.hashes}
	d.hash = nil
	go l.sum()
	return l, nil
}

// lateDigest is a Digest that is computed on another core beside what goes on,
// or by who asks for it before that has begun.
type lateDigest struct {
	once    sync.Once
	hash    *storage.Digester // of the first hashed bytes; nil when the Digest is there
	hashed  int64
	pieces  [][]byte
	release func()
	hashes  *hashes
	digest  storage.Digest
}

func (l *lateDigest) sum() storage.Digest {
	l.once.Do(func() {
		if l.hash == nil {
			return
		}
		write(l.hash, l.pieces, l.hashed)
		l.digest = l.hash.Digest()
		l.release()
		l.hashes.put(l.hash)
		l.hash, l.pieces, l.release = nil, nil, nil
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
