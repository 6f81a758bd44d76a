package pack

import (
	"fmt"
	"hash/crc32"
	"slices"
	"sync"

	"github.com/esante-alsace/cigogne/storage"
)

// partSums checks pieces that are read in parts, by several readers of one
// pack and in any order, as an archive does that sends parts at the same time.
type partSums struct {
	mu    sync.Mutex
	parts map[*piece][]partSum // sorted, with gaps between
}

// partSum is the CRC-32 of a part of a piece.
type partSum struct {
	from, to int64
	crc      uint32
}

// maxParts bounds how many parts of a piece are remembered.
const maxParts = 10_000

// add notes a part that was read. When it completes the piece, the checksums
// are combined, and a piece that differs from its own is storage.ErrCorrupt. A part that overlaps another is passed over: it was read
// again.
func (s *partSums) add(of *piece, p partSum) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	parts := s.parts[of]
	at, _ := slices.BinarySearchFunc(parts, p.from, func(q partSum, from int64) int { return int(min(1, max(-1, q.from-from))) })
	if at > 0 && parts[at-1].to > p.from || at < len(parts) && parts[at].from < p.to || len(parts) >= maxParts {
		return nil
	}
	parts = slices.Insert(parts, at, p)
	if at+1 < len(parts) && parts[at].to == parts[at+1].from {
		parts[at] = parts[at].join(parts[at+1])
		parts = slices.Delete(parts, at+1, at+2)
	}
	if at > 0 && parts[at-1].to == parts[at].from {
		parts[at-1] = parts[at-1].join(parts[at])
		parts = slices.Delete(parts, at, at+1)
	}
	if parts[0].from > 0 || parts[0].to < of.size {
		if s.parts == nil {
			s.parts = map[*piece][]partSum{}
		}
		s.parts[of] = parts
		return nil
	}
	delete(s.parts, of)
	return of.checkSum(parts[0].crc)
}

func (p partSum) join(next partSum) partSum {
	return partSum{p.from, next.to, combine(p.crc, next.crc, next.to-next.from)}
}

func (p *piece) checkSum(crc uint32) error {
	if crc != p.crc {
		return fmt.Errorf("%w: %s has CRC-32 %08x, not %08x", storage.ErrCorrupt, p, crc, p.crc)
	}
	return nil
}

// combine is the CRC-32 of two byte strings, one behind the other, from theirs
// and the length of the second. As in zlib's crc32_combine, a CRC-32 moves on
// over a zero bit by a matrix over GF(2), and over n of them by its powers.
func combine(first, second uint32, length int64) uint32 {
	// power is the matrix for 2^k zero bytes, beginning with one bit.
	var power matrix
	power[0] = crc32.IEEE
	for i := 1; i < len(power); i++ {
		power[i] = 1 << (i - 1)
	}
	for range 3 { // 2, 4, 8 bits
		power = power.squared()
	}
	for ; length > 0; length >>= 1 {
		if length&1 == 1 {
			first = power.times(first)
		}
		power = power.squared()
	}
	return first ^ second
}

// matrix is 32 by 32 bits, a column in each number.
type matrix [32]uint32

func (m *matrix) times(vector uint32) uint32 {
	sum := uint32(0)
	for i := 0; vector != 0; i, vector = i+1, vector>>1 {
		if vector&1 == 1 {
			sum ^= m[i]
		}
	}
	return sum
}

func (m *matrix) squared() matrix {
	var out matrix
	for i := range m {
		out[i] = m.times(m[i])
	}
	return out
}
