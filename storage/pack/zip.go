package pack

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// The parts of a ZIP file (PKWARE APPNOTE 6.3.10 §4.3) as packs use them: no
// flags, no data descriptors, no dates, Unix permissions 0644.
const (
	localSignature     = 0x04034b50
	centralSignature   = 0x02014b50
	end64Signature     = 0x06064b50
	locator64Signature = 0x07064b50
	endSignature       = 0x06054b50

	localLength   = 30
	centralLength = 46
	endLength     = 22
	maxComment    = 200

	stored    = 0
	deflated  = 8
	zstandard = 93

	zip64Extra = 1
	dosEpoch   = 0x0021 // 1980-01-01, the date of every entry
	needs20    = 20     // version 2.0: deflate
	needs45    = 45     // version 4.5: ZIP64
	needs63    = 63     // version 6.3: Zstandard
	madeByUnix = 3<<8 | needs45
	unixMode   = 0o100644 << 16

	full32 = 1<<32 - 1 // 'see the ZIP64 extra field'
	full16 = 1<<16 - 1
)

// zipEntry is what a local and a central header say of an entry.
type zipEntry struct {
	name       string
	method     uint16
	crc        uint32
	compressed int64
	size       int64
	offset     int64 // of the local header
}

// large tells whether the sizes need the ZIP64 extra field.
func large(compressed, size int64) bool { return compressed >= full32 || size >= full32 }

// localSize is the length of an entry's local header.
func localSize(name string, compressed, size int64) int64 {
	n := int64(localLength + len(name))
	if large(compressed, size) {
		n += 20
	}
	return n
}

// needs is the version that a tool must have; large ones need ZIP64.
func (e *zipEntry) needs(large bool) uint16 {
	switch {
	case e.method == zstandard:
		return needs63
	case large:
		return needs45
	}
	return needs20
}

// local is the local header.
func (e *zipEntry) local() []byte {
	le := binary.LittleEndian
	extra := 0
	compressed, size := uint32(e.compressed), uint32(e.size)
	if large(e.compressed, e.size) {
		extra, compressed, size = 20, full32, full32
	}
	b := le.AppendUint32(nil, localSignature)
	b = e.common(b, e.needs(extra > 0), compressed, size, extra)
	b = append(b, e.name...)
	if extra > 0 {
		b = le.AppendUint16(b, zip64Extra)
		b = le.AppendUint16(b, 16)
		b = le.AppendUint64(b, uint64(e.size))
		b = le.AppendUint64(b, uint64(e.compressed))
	}
	return b
}

// common appends the fields from 'version needed' to 'extra field length',
// which both headers have.
func (e *zipEntry) common(b []byte, needs uint16, compressed, size uint32, extra int) []byte {
	le := binary.LittleEndian
	b = le.AppendUint16(b, needs)
	b = le.AppendUint16(b, 0) // flags
	b = le.AppendUint16(b, e.method)
	b = le.AppendUint16(b, 0) // time
	b = le.AppendUint16(b, dosEpoch)
	b = le.AppendUint32(b, e.crc)
	b = le.AppendUint32(b, compressed)
	b = le.AppendUint32(b, size)
	b = le.AppendUint16(b, uint16(len(e.name)))
	return le.AppendUint16(b, uint16(extra))
}

// central appends the header of the central directory.
func (e *zipEntry) central(b []byte) []byte {
	le := binary.LittleEndian
	compressed, size, offset := uint32(e.compressed), uint32(e.size), uint32(e.offset)
	var extra []byte
	if large(e.compressed, e.size) {
		compressed, size = full32, full32
		extra = le.AppendUint64(extra, uint64(e.size))
		extra = le.AppendUint64(extra, uint64(e.compressed))
	}
	if e.offset >= full32 {
		offset = full32
		extra = le.AppendUint64(extra, uint64(e.offset))
	}
	if len(extra) > 0 {
		head := le.AppendUint16(nil, zip64Extra)
		extra = append(le.AppendUint16(head, uint16(len(extra))), extra...)
	}
	b = le.AppendUint32(b, centralSignature)
	b = le.AppendUint16(b, madeByUnix)
	b = e.common(b, e.needs(len(extra) > 0), compressed, size, len(extra))
	b = le.AppendUint16(b, 0) // comment length
	b = le.AppendUint16(b, 0) // disk
	b = le.AppendUint16(b, 0) // internal attributes
	b = le.AppendUint32(b, unixMode)
	b = le.AppendUint32(b, offset)
	b = append(b, e.name...)
	return append(b, extra...)
}

// end appends the end of the central directory, in its ZIP64 form too when
// one of its fields needs it.
func end(b []byte, entries int, start, length int64, comment string) []byte {
	le := binary.LittleEndian
	if entries >= full16 || start >= full32 || length >= full32 {
		b = le.AppendUint32(b, end64Signature)
		b = le.AppendUint64(b, 44) // length of what follows
		b = le.AppendUint16(b, madeByUnix)
		b = le.AppendUint16(b, needs45)
		b = le.AppendUint64(b, 0) // this disk, disk of the directory
		b = le.AppendUint64(b, uint64(entries))
		b = le.AppendUint64(b, uint64(entries))
		b = le.AppendUint64(b, uint64(length))
		b = le.AppendUint64(b, uint64(start))
		b = le.AppendUint32(b, locator64Signature)
		b = le.AppendUint32(b, 0)
		b = le.AppendUint64(b, uint64(start+length))
		b = le.AppendUint32(b, 1) // disks
	}
	b = le.AppendUint32(b, endSignature)
	b = le.AppendUint32(b, 0) // this disk, disk of the directory
	b = le.AppendUint16(b, uint16(min(entries, full16)))
	b = le.AppendUint16(b, uint16(min(entries, full16)))
	b = le.AppendUint32(b, uint32(min(length, full32)))
	b = le.AppendUint32(b, uint32(min(start, full32)))
	b = le.AppendUint16(b, uint16(len(comment)))
	return append(b, comment...)
}

// directoryWriter writes the central directory and its end.
type directoryWriter struct {
	w       io.Writer
	start   int64
	length  int64
	entries int
	buf     []byte
	crc     uint32 // of what was written
}

func (d *directoryWriter) add(e *zipEntry) error {
	d.buf = e.central(d.buf[:0])
	d.entries++
	d.length += int64(len(d.buf))
	return d.flush()
}

func (d *directoryWriter) finish(comment string) error {
	d.buf = end(d.buf[:0], d.entries, d.start, d.length, comment)
	return d.flush()
}

func (d *directoryWriter) flush() error {
	d.crc = crc32.Update(d.crc, crc32.IEEETable, d.buf)
	_, err := d.w.Write(d.buf)
	return err
}

// pointer tells where the index lies. It is the ZIP file's comment, the last
// bytes of the pack, from where a reader begins.
type pointer struct {
	version    int
	offset     int64 // of the deflated bytes
	compressed int64
	size       int64
	crc        uint32
}

func (p pointer) String() string {
	return fmt.Sprintf("%s/%d index=%d+%d inflated=%d crc32=%08x", format, p.version, p.offset, p.compressed, p.size, p.crc)
}

// parsePointer accepts what String writes and nothing else.
func parsePointer(comment string) (pointer, bool) {
	var p pointer
	_, err := fmt.Sscanf(comment, format+"/%d index=%d+%d inflated=%d crc32=%x", &p.version, &p.offset, &p.compressed, &p.size, &p.crc)
	return p, err == nil && p.String() == comment
}
