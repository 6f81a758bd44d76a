package journal

import (
	"slices"
	"sync"
	"sync/atomic"
)

const (
	// chunkSize is how much of a payload is buffered in its first piece: what
	// is small takes little. Each that follows has furtherChunk: what is not is
	// read by few calls. No byte is copied when it grows.
	chunkSize    = 64 << 10
	furtherChunk = 256 << 10
	// keptChunks and keptFurther bound what the pool holds on to: 8 MiB each.
	keptChunks  = 128
	keptFurther = 32
)

// chunkPool keeps chunks for reuse, as many as its channels hold.
type chunkPool struct{ first, further chan []byte }

func newChunkPool() chunkPool {
	return chunkPool{make(chan []byte, keptChunks), make(chan []byte, keptFurther)}
}

// get returns an empty chunk: the first of a payload or one that follows.
func (p chunkPool) get(first bool) []byte {
	kept, size := p.further, furtherChunk
	if first {
		kept, size = p.first, chunkSize
	}
	select {
	case b := <-kept:
		return b[:0]
	default:
		return make([]byte, 0, size)
	}
}

func (p chunkPool) put(chunks [][]byte) {
	for _, b := range chunks {
		kept := p.further
		if cap(b) == chunkSize {
			kept = p.first
		}
		select {
		case kept <- b:
		default: // the garbage collector's
		}
	}
}

// buffer is a payload, or a part of one, in chunks.
type buffer struct {
	pool   chunkPool
	chunks [][]byte // of which only the last may be empty
	size   int
	shared *shared // nil when the buffer is not shared
}

// shared are chunks that somebody else reads, too: they go back to the pool
// when both have given them up.
type shared struct {
	holders atomic.Int32
	chunks  [][]byte // set when the buffer gives them up
}

// share returns the chunks as they are now, and what gives them up.
func (b *buffer) share() (chunks [][]byte, release func()) {
	if b.shared == nil {
		b.shared = new(shared)
		b.shared.holders.Store(1)
	}
	s, pool := b.shared, b.pool
	s.holders.Add(1)
	return slices.Clone(b.chunks), sync.OnceFunc(func() { s.giveUp(pool) })
}

func (s *shared) giveUp(pool chunkPool) {
	if s.holders.Add(-1) == 0 {
		pool.put(s.chunks)
	}
}

// room returns memory for what comes next, of at least a byte.
func (b *buffer) room() []byte {
	last := len(b.chunks) - 1
	if last < 0 || len(b.chunks[last]) == cap(b.chunks[last]) {
		b.chunks = append(b.chunks, b.pool.get(last < 0))
		last++
	}
	c := b.chunks[last]
	return c[len(c):cap(c)]
}

// take makes the first n bytes of room part of the buffer, and returns them.
func (b *buffer) take(n int) []byte {
	if n == 0 {
		return nil
	}
	c := &b.chunks[len(b.chunks)-1]
	from := len(*c)
	*c = (*c)[:from+n]
	b.size += n
	return (*c)[from:]
}

// vectors is the buffer from one offset to another for WriteVAt, which uses the
// slice up, between other parts; chunks stay the buffer's.
func (b *buffer) vectors(before [][]byte, from, to int64, after ...[]byte) [][]byte {
	v := make([][]byte, 0, len(before)+len(b.chunks)+len(after))
	v = append(v, before...)
	for _, c := range b.chunks {
		n := int64(len(c))
		if from < n && to > 0 {
			v = append(v, c[max(from, 0):min(to, n)])
		}
		from, to = from-n, to-n
	}
	return append(v, after...)
}

// release gives the memory back; the buffer is empty and may be used again.
func (b *buffer) release() {
	if b.shared != nil {
		b.shared.chunks = slices.Clone(b.chunks)
		b.shared.giveUp(b.pool)
		b.shared = nil
	} else {
		b.pool.put(b.chunks)
	}
	clear(b.chunks)
	b.chunks, b.size = b.chunks[:0], 0
}
