package dicom

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"strconv"

	"github.com/esante-alsace/cigogne/storage"
)

// pixels gathers what tells the frames of a Data Set's PixelData apart.
type pixels struct {
	rows, columns, samples, allocated uint64
	numberOfFrames                    int
	subsampled                        bool // YBR_FULL_422 or alike

	value *storage.Range // of native PixelData

	// Of encapsulated PixelData:
	present bool
	inside  bool // between openFragments and closeFragments
	most    int  // fragments to remember
	first   int64
	count   int
	lengths []uint32 // of the fragments, without the Basic Offset Table
	starts  []int    // fragments that begin with a codestream's marker
	offsets []int64  // of the frames, from the Basic or Extended Offset Table
}

// attribute notes one of the attributes that describe pixels.
func (x *pixels) attribute(tag Tag, values []string) {
	if len(values) == 0 {
		return
	}
	switch tag {
	case tagSamplesPerPixel:
		x.samples = number(values[0])
	case tagRows:
		x.rows = number(values[0])
	case tagColumns:
		x.columns = number(values[0])
	case tagBitsAllocated:
		x.allocated = number(values[0])
	case tagNumberOfFrames:
		x.numberOfFrames = int(number(values[0]))
	case tagPhotometric:
		x.subsampled = values[0] == "YBR_FULL_422" || values[0] == "YBR_PARTIAL_422"
	}
}

// number is a small number of an attribute that may hold anything, 0 when it
// holds no such thing.
func number(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0
	}
	return n
}

func (x *pixels) native(h *header) {
	switch h.tag {
	case tagPixelData, tagFloatPixelData, tagDoubleFloatPixelData:
		if h.length != undefined && x.value == nil {
			x.value = &storage.Range{Offset: h.offset, Length: h.length}
		}
	}
}

// extended takes the Extended Offset Table (PS3.3 §C.7.6.3.1.8).
func (x *pixels) extended(h *header, p []byte) {
	x.offsets = make([]int64, 0, len(p)/8)
	for word := range slices.Chunk(p[:len(p)/8*8], 8) {
		x.offsets = append(x.offsets, int64(readWord(h.bigEndian, word)))
	}
}

func (x *pixels) begin(offset int64, most int) {
	if x.present {
		return
	}
	x.present, x.inside, x.most, x.first = true, true, most, offset
}

func (x *pixels) end() { x.inside = false }

// fragment notes a fragment and returns how many of its bytes are wanted: the
// Basic Offset Table, or enough of others to know a codestream's beginning.
func (x *pixels) fragment(h *header) int {
	const marker = 4
	if !x.inside {
		return -1
	}
	x.count++
	if x.count == 1 {
		x.first = h.offset + h.length
		if h.length <= 4*int64(x.most) {
			return int(h.length)
		}
		return -1
	}
	if x.count-1 > x.most {
		return -1
	}
	x.lengths = append(x.lengths, uint32(h.length))
	if x.numberOfFrames > 1 {
		return marker
	}
	return -1
}

// bytes takes the bytes that fragment wanted.
func (x *pixels) bytes(p []byte) {
	if x.count > 1 {
		if codestream(p) {
			x.starts = append(x.starts, x.count-2)
		}
		return
	}
	if len(p) == 0 {
		return
	}
	x.offsets = make([]int64, 0, len(p)/4)
	for word := range slices.Chunk(p[:len(p)/4*4], 4) {
		x.offsets = append(x.offsets, int64(binary.LittleEndian.Uint32(word)))
	}
}

// codestream tells whether p begins a JPEG, JPEG-LS, JPEG 2000 or JPEG XL
// codestream or file.
func codestream(p []byte) bool {
	if len(p) < 4 {
		return false
	}
	switch binary.BigEndian.Uint32(p) {
	case 0xFF4FFF51, 0x0000000C:
		return true
	}
	return p[0] == 0xFF && (p[1] == 0xD8 && p[2] == 0xFF || p[1] == 0x0A)
}

// frames is nil when there is no PixelData, or when its frames can't be told
// apart.
func (x *pixels) frames() *Frames {
	switch {
	case x.present:
		return x.encapsulated()
	case x.value != nil:
		return x.nativeFrames()
	}
	return nil
}

func (x *pixels) nativeFrames() *Frames {
	count := uint64(max(x.numberOfFrames, 1))
	samples := max(x.samples, 1)
	if x.subsampled && samples == 3 {
		samples = 2 // Cb and Cr of two pixels are sent once
	}
	total := uint64(1)
	for _, factor := range []uint64{x.rows, x.columns, samples, x.allocated, count} {
		var over uint64
		if over, total = bits.Mul64(total, factor); over != 0 {
			return nil
		}
	}
	if total == 0 || total > uint64(x.value.Length)*8 {
		return nil
	}
	return &Frames{Count: int(count), FrameBits: int64(total / count), Native: *x.value}
}

func (x *pixels) encapsulated() *Frames {
	fragments := x.count - 1
	if fragments < 1 || fragments > x.most {
		return nil
	}
	f := &Frames{Fragments: make([]storage.Range, fragments)}
	offset := x.first
	for i, length := range x.lengths {
		offset += 8 // the item's header
		f.Fragments[i] = storage.Range{Offset: offset, Length: int64(length)}
		offset += int64(length)
	}
	if f.FirstFragment = x.firstFragments(f.Fragments); f.FirstFragment == nil {
		return nil
	}
	f.Count = len(f.FirstFragment)
	return f
}

// firstFragments tells where each frame begins: by an offset table, if it fits
// the fragments; else by what there is when every frame is one fragment, or
// every fragment of one frame; else by the marker that begins a codestream.
func (x *pixels) firstFragments(fragments []storage.Range) []int {
	count := max(x.numberOfFrames, 1)
	if first := x.byTable(fragments); len(first) == count {
		return first
	}
	switch {
	case count == 1:
		return []int{0}
	case count == len(fragments):
		first := make([]int, count)
		for i := range first {
			first[i] = i
		}
		return first
	case count == len(x.starts) && x.starts[0] == 0:
		return x.starts
	}
	return nil
}

// byTable follows the offset table, whose offsets count from the header of
// the first fragment (PS3.5 §A.4). It is nil when one meets no fragment.
func (x *pixels) byTable(fragments []storage.Range) []int {
	first := make([]int, 0, len(x.offsets))
	at := 0
	for _, offset := range x.offsets {
		for at < len(fragments) && fragments[at].Offset-8-x.first < offset {
			at++
		}
		if at == len(fragments) || fragments[at].Offset-8-x.first != offset {
			return nil
		}
		first = append(first, at)
		at++
	}
	if len(first) > 0 && first[0] != 0 {
		return nil
	}
	return first
}
