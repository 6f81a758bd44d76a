package pack

import (
	"fmt"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

// Compression says how the entries of native pixel data lie in a pack. The
// empty value is None.
type Compression string

// The settings of Options.Compression.
const (
	None    Compression = "none"
	Deflate Compression = "deflate" // every tool that opens ZIP files opens it
	Zstd    Compression = "zstd"    // faster, for newer tools
)

// method is the number of the ZIP compression method (APPNOTE §4.4.5). A
// setting that is not known is storage.ErrUnsupported.
func (c Compression) method() (uint16, error) {
	switch c {
	case "", None:
		return stored, nil
	case Deflate:
		return deflated, nil
	case Zstd:
		return zstandard, nil
	}
	return 0, fmt.Errorf("%w: pack compression %q", storage.ErrUnsupported, string(c))
}

// setting is the inverse of method.
func setting(method uint16) Compression {
	switch method {
	case deflated:
		return Deflate
	case zstandard:
		return Zstd
	}
	return None
}

const (
	// leastCompressed is how large an instance must be to be compressed.
	leastCompressed = 8 << 10
	// targetBlock is the length that blocks have about, maxBlock the most that
	// one may have. DESIGN.md has the figures.
	targetBlock = 256 << 10
	maxBlock    = 2 << 20
	// maxBlocks bounds the blocks of an instance; the target grows with it.
	maxBlocks = 1 << 16
	// tryBytes is how much is compressed before an entry is given up that does
	// not shrink.
	tryBytes = 4 << 20
)

// worthwhile tells whether what became of size bytes is so much less that it
// is worth being read through a decompressor instead of by the kernel.
func worthwhile(compressed, size int64) bool { return compressed <= size-size/8 }

// compressible tells whether a member's bytes were compressed by nobody yet.
func compressible(m *Member) bool {
	ts := dicom.LookupTransferSyntax(m.TransferSyntaxUID)
	return ts.Known && !ts.Encapsulated && !ts.Deflated && m.Size >= leastCompressed
}

// cut decides where an instance is cut into blocks, by its size and layout
// alone. Frames begin with a block and end with one, or share blocks that
// hold only whole frames, where their length allows. It is false for an
// instance that would have too many blocks.
func cut(m *Member) (c cuts, ok bool) {
	target := int64(targetBlock)
	if m.Size <= target {
		return cuts{first: m.Size, block: target}, true
	}
	for m.Size/target >= maxBlocks/4 && target < maxBlock/2 {
		target *= 2
	}
	c = cuts{first: target, block: target}
	if frame, pixels, ok := nativeFrames(m); ok {
		c.block = blockOfFrames(frame, target)
		c.first = pixels%c.block + c.block
	}
	c.first = min(c.first, m.Size)
	return c, c.count(m.Size) <= maxBlocks
}

// nativeFrames is the length of the frames of an instance, in whole bytes, and
// where they begin in its stored form.
func nativeFrames(m *Member) (frame, pixels int64, ok bool) {
	if m.Layout == nil || m.Layout.Frames == nil {
		return 0, 0, false
	}
	f := m.Layout.Frames
	frame = f.FrameBits / 8
	return frame, m.Prefix + f.Native.Offset, frame > 0 && frame <= m.Size && f.FrameBits%8 == 0
}

// blockOfFrames is the length of blocks for frames of a length: as many as the
// target holds, or an equal part of one.
func blockOfFrames(frame, target int64) int64 {
	if frame <= target {
		return target / frame * frame
	}
	least := (frame + target - 1) / target
	for parts := least; parts < 2*least; parts++ {
		if frame%parts == 0 {
			return frame / parts
		}
	}
	return target
}

// cuts tells where the stored form of an instance is cut into blocks: the
// first has its own length, the last has what is left.
type cuts struct {
	first, block int64
}

// count is the number of blocks of an instance of a size.
func (c cuts) count(size int64) int64 {
	return 1 + (size-c.first+c.block-1)/c.block
}

// rangeOf is the part of the instance that block i holds.
func (c cuts) rangeOf(i, size int64) storage.Range {
	if i == 0 {
		return storage.Range{Length: c.first}
	}
	from := c.first + (i-1)*c.block
	return storage.Range{Offset: from, Length: min(c.block, size-from)}
}

// at is the block that holds the byte at an offset.
func (c cuts) at(offset int64) int64 {
	if offset < c.first {
		return 0
	}
	return 1 + (offset-c.first)/c.block
}
