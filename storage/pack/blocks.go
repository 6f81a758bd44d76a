package pack

import (
	"encoding/binary"

	"github.com/esante-alsace/cigogne/storage"
)

// blocks tells how an instance lies compressed in its entry: cut into blocks,
// each of which can be decompressed alone, one behind the other.
type blocks struct {
	cuts
	method uint16
	length int64 // of all compressed bytes
	// table has, for each block, the length of its compressed bytes as a
	// uvarint and the CRC-32 (IEEE) of what it holds.
	table []byte
}

// block is one of them.
type block struct {
	raw        storage.Range // of the instance
	compressed storage.Range // of the entry's bytes
	crc        uint32        // of the raw bytes
	last       bool
}

// maxCompressed is the most bytes that a block may take: what compressors
// make of noise, with some room.
func maxCompressed(raw int64) int64 { return raw + raw/64 + 1024 }

// add notes a block's length and checksum.
func (b *blocks) add(compressed int, crc uint32) {
	b.table = binary.AppendUvarint(b.table, uint64(compressed))
	b.table = binary.LittleEndian.AppendUint32(b.table, crc)
	b.length += int64(compressed)
}

// walk returns a blockWalk at the first block of an instance of size bytes.
func (b *blocks) walk(size int64) blockWalk {
	return blockWalk{blocks: b, size: size, left: b.table}
}

// from returns a blockWalk at the block that holds a byte of the instance.
func (b *blocks) from(size, offset int64) blockWalk {
	w := b.walk(size)
	for at := b.at(offset); w.i < at; {
		if _, ok := w.next(); !ok {
			break
		}
	}
	return w
}

// blockWalk goes from one block to the next.
type blockWalk struct {
	*blocks
	size int64
	i    int64
	at   int64 // of its compressed bytes
	left []byte
}

// next is false behind the last block, and where the table is none.
func (w *blockWalk) next() (block, bool) {
	n, used := binary.Uvarint(w.left)
	if used <= 0 || len(w.left) < used+4 || w.i >= w.count(w.size) {
		return block{}, false
	}
	b := block{
		raw: w.rangeOf(w.i, w.size), crc: binary.LittleEndian.Uint32(w.left[used:]),
		last: w.i == w.count(w.size)-1,
	}
	if n < 1 || int64(n) > maxCompressed(b.raw.Length) || n > maxBlock*2 {
		return block{}, false
	}
	b.compressed = storage.Range{Offset: w.at, Length: int64(n)}
	w.at += int64(n)
	w.i++
	w.left = w.left[used+4:]
	return b, true
}

// check tells whether the blocks are those of an instance of size bytes: none
// longer than bounds allow, none missing, none too many, and as long together
// as is said.
func (b *blocks) check(size int64) bool {
	if b.method != deflated && b.method != zstandard || b.first < 1 || b.first > min(size, maxBlock) || b.block < 1 || b.block > maxBlock {
		return false
	}
	count := b.count(size)
	if count > maxBlocks {
		return false
	}
	w := b.walk(size)
	for range count {
		if _, ok := w.next(); !ok {
			return false
		}
	}
	return len(w.left) == 0 && w.at == b.length
}
