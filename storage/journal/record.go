package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"

	"github.com/esante-alsace/cigogne/storage"
)

// The sizes of what a segment is made of; DESIGN.md shows the fields.
const (
	segmentHeaderSize = 64
	recordHeaderSize  = 64
	recordAlign       = 8

	segmentMagic = "CIGJRNL1"
	recordMagic  = uint32('C') | 'J'<<8 | 'R'<<16 | '1'<<24
)

// MaxHeaderBytes is how many bytes of header, and how many of prefix, one
// record takes.
const MaxHeaderBytes = 1 << 20

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) } // made once, inside

// maxSegment is beyond the end of any segment.
const maxSegment = math.MaxInt64 / 2

// segmentHeader stands at the front of a segment and is durable before its
// first record is written.
type segmentHeader struct {
	number uint64
	// salt is random and stands in every record of the segment: stale bytes,
	// and payloads made to look like records, are none of this segment's.
	salt uint64
	id   ID
	// previous and previousEnd tell where the segment before this one ended,
	// so that bytes missing at its end are known to be missing.
	previous    uint64
	previousEnd int64
}

func (h segmentHeader) encode() []byte {
	b := make([]byte, 0, segmentHeaderSize)
	b = append(b, segmentMagic...)
	b = binary.LittleEndian.AppendUint64(b, h.number)
	b = binary.LittleEndian.AppendUint64(b, h.salt)
	b = append(b, h.id[:]...)
	b = binary.LittleEndian.AppendUint64(b, h.previous)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.previousEnd))
	b = append(b, 0, 0, 0, 0)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli()))
}

func parseSegmentHeader(b []byte) (segmentHeader, error) {
	if len(b) < segmentHeaderSize || string(b[:8]) != segmentMagic {
		return segmentHeader{}, fmt.Errorf("%w: it does not begin as a segment does", storage.ErrCorrupt)
	}
	b = b[:segmentHeaderSize]
	if crc32.Checksum(b[:60], castagnoli()) != binary.LittleEndian.Uint32(b[60:]) {
		return segmentHeader{}, fmt.Errorf("%w: the segment header does not match its checksum", storage.ErrCorrupt)
	}
	return segmentHeader{
		number:      binary.LittleEndian.Uint64(b[8:]),
		salt:        binary.LittleEndian.Uint64(b[16:]),
		id:          ID(b[24:40]),
		previous:    binary.LittleEndian.Uint64(b[40:]),
		previousEnd: int64(binary.LittleEndian.Uint64(b[48:])),
	}, nil
}

// record is a record's fixed header and, when it was read, the header and
// prefix bytes that follow it. The body lies after them and a gap, padded to
// recordAlign, or in a large file.
type record struct {
	offset int64 // its own place
	// durable is the offset up to which the segment was known to be durable
	// when the record was written. Damage before it is damage to something
	// that was acknowledged; damage after it may be a torn tail.
	durable   int64
	headerLen uint32
	prefixLen uint32
	bodyLen   int64
	large     uint64 // the large file that holds the body; 0: it is inline
	gap       uint32 // zeros before the body, for it was written first; of one that is inline
	bodyCRC   uint32

	header, prefix []byte
}

func (r *record) size() int64 { return int64(r.prefixLen) + r.bodyLen }

// body is the range of the body within the file that holds it.
func (r *record) body() storage.Range {
	if r.large != 0 {
		return storage.Range{Length: r.bodyLen}
	}
	return storage.Range{
		Offset: r.offset + recordHeaderSize + int64(r.headerLen) + int64(r.prefixLen) + int64(r.gap),
		Length: r.bodyLen,
	}
}

// unpadded is the record's length in the segment before it is padded.
func (r *record) unpadded() int64 {
	n := recordHeaderSize + int64(r.headerLen) + int64(r.prefixLen)
	if r.large == 0 {
		n += int64(r.gap) + r.bodyLen
	}
	return n
}

func (r *record) length() int64 { return (r.unpadded() + recordAlign - 1) &^ (recordAlign - 1) }
func (r *record) end() int64    { return r.offset + r.length() }

// encode returns the fixed header, with the checksum over it, r.header and
// r.prefix.
func (r *record) encode(salt uint64) []byte {
	b := make([]byte, 0, recordHeaderSize)
	b = binary.LittleEndian.AppendUint32(b, recordMagic)
	b = binary.LittleEndian.AppendUint32(b, r.headerLen)
	b = binary.LittleEndian.AppendUint64(b, salt)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.offset))
	b = binary.LittleEndian.AppendUint64(b, uint64(r.durable))
	b = binary.LittleEndian.AppendUint64(b, uint64(r.bodyLen))
	b = binary.LittleEndian.AppendUint64(b, r.large)
	b = binary.LittleEndian.AppendUint32(b, r.prefixLen)
	b = binary.LittleEndian.AppendUint32(b, r.gap)
	b = binary.LittleEndian.AppendUint32(b, r.bodyCRC)
	return binary.LittleEndian.AppendUint32(b, checksum(b, r.header, r.prefix))
}

func checksum(parts ...[]byte) uint32 {
	var sum uint32
	for _, p := range parts {
		sum = crc32.Update(sum, castagnoli(), p)
	}
	return sum
}

// looksLikeRecord tells whether b begins as the record of this segment at
// this offset does.
func looksLikeRecord(b []byte, salt uint64, offset int64) bool {
	return len(b) >= recordHeaderSize &&
		binary.LittleEndian.Uint32(b) == recordMagic &&
		binary.LittleEndian.Uint64(b[8:]) == salt &&
		binary.LittleEndian.Uint64(b[16:]) == uint64(offset)
}

// parseRecord reads the fixed header alone; the checksum is not checked yet.
// The lengths it returns are within their limits, and the record ends at or
// before limit.
func parseRecord(b []byte, salt uint64, offset, limit int64) (record, error) {
	if !looksLikeRecord(b, salt, offset) {
		return record{}, fmt.Errorf("%w: no record begins here", storage.ErrCorrupt)
	}
	r := record{
		offset:    offset,
		headerLen: binary.LittleEndian.Uint32(b[4:]),
		durable:   int64(binary.LittleEndian.Uint64(b[24:])),
		bodyLen:   int64(binary.LittleEndian.Uint64(b[32:])),
		large:     binary.LittleEndian.Uint64(b[40:]),
		prefixLen: binary.LittleEndian.Uint32(b[48:]),
		gap:       binary.LittleEndian.Uint32(b[52:]),
		bodyCRC:   binary.LittleEndian.Uint32(b[56:]),
	}
	switch {
	case r.headerLen > MaxHeaderBytes || r.prefixLen > MaxHeaderBytes,
		r.bodyLen < 0 || r.bodyLen > math.MaxInt64/2,
		r.gap > maxGap || r.gap > 0 && r.large != 0,
		r.durable < 0 || r.durable > offset:
		return record{}, fmt.Errorf("%w: the record's lengths are not possible", storage.ErrCorrupt)
	case r.length() > limit-offset:
		return record{}, fmt.Errorf("%w: the record is longer than what is there", storage.ErrCorrupt)
	}
	return r, nil
}

// readRecord reads the record at an offset, header and prefix included, and
// checks their checksum, but not the body. Errors wrap storage.ErrCorrupt,
// or are the file's own.
func readRecord(f io.ReaderAt, salt uint64, offset, limit int64, buf []byte) (record, error) {
	buf = buf[:min(int64(len(buf)), max(limit-offset, 0))]
	if err := readFull(f, buf, offset); err != nil {
		return record{}, err
	}
	r, err := parseRecord(buf, salt, offset, limit)
	if err != nil {
		return record{}, err
	}
	meta := make([]byte, int(r.headerLen)+int(r.prefixLen)) // within MaxHeaderBytes and the file
	n := copy(meta, buf[recordHeaderSize:])
	if err := readFull(f, meta[n:], offset+recordHeaderSize+int64(n)); err != nil {
		return record{}, err
	}
	if checksum(buf[:60], meta) != binary.LittleEndian.Uint32(buf[60:]) {
		return record{}, fmt.Errorf("%w: the record's header does not match its checksum", storage.ErrCorrupt)
	}
	r.header, r.prefix = meta[:r.headerLen:r.headerLen], meta[r.headerLen:]
	return r, nil
}

// readFull fills b; a file that ends before is corrupt, since its size was
// known.
func readFull(f io.ReaderAt, b []byte, off int64) error {
	n, err := f.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == io.EOF {
		return fmt.Errorf("%w: the file ends at offset %d, within a record", storage.ErrCorrupt, off+int64(n))
	}
	return err
}
