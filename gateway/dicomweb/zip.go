package dicomweb

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"time"

	"github.com/esante-alsace/cigogne/storage"
)

// The records of a ZIP file (APPNOTE.TXT 6.3, §4.3), as far as stored entries
// need them. As length and CRC-32 of each entry are known beforehand, there
// are no data descriptors, and the length of the file is known too.
const (
	zipLocalHeader  = 0x04034b50
	zipCentral      = 0x02014b50
	zipEnd          = 0x06054b50
	zip64End        = 0x06064b50
	zip64Locator    = 0x07064b50
	zip64Extra      = 0x0001
	zipVersion      = 20
	zip64Version    = 45
	zipUnknown32    = math.MaxUint32
	zipUnknown16    = math.MaxUint16
	zipRegularUnix  = 0o100644 << 16
	zipMadeOnUnix   = 3 << 8
	zip64EndLength  = 44
	zipDigestDigits = 16
)

// zipDocument is a ZIP file of stored entries, one per instance, named
// SOPInstanceUID.dcm in the folder of its series. The instances are in the
// order of byZip.
func zipDocument(l located) document {
	return document{
		contentType: zipType, etag: zipTag(l), ranges: true, filename: l.StudyInstanceUID + ".zip",
		segments: func(yield func(segment) bool) {
			var b []byte
			for _, in := range l.instances {
				e := newZipEntry(in.About(), l.Conflicts)
				b = e.appendLocal(b[:0])
				if !yield(segment{literal: b}) || !yield(stored(in, storage.Range{Length: e.size})) {
					return
				}
			}
			var end zipDirectory
			for _, in := range l.instances {
				e := newZipEntry(in.About(), l.Conflicts)
				b = e.appendCentral(b[:0], end.offset)
				end.add(e, len(b))
				if !yield(segment{literal: b}) {
					return
				}
			}
			yield(segment{literal: end.append(nil)})
		},
	}
}

// zipTag names the files and when they came, which the ZIP file tells, too, in
// the order in which they are served: a range must not be continued in one of
// another order.
func zipTag(l located) string {
	sum := sha256.New()
	for _, in := range l.instances {
		about := in.About()
		e := newZipEntry(about, l.Conflicts)
		fmt.Fprintf(sum, "%s %d %d\n", fileTag(about), e.date, e.hour)
	}
	return `"` + hex.EncodeToString(sum.Sum(nil)) + `.zip"`
}

// zipEntry is one file in the ZIP.
type zipEntry struct {
	name       string
	size       int64
	crc        uint32
	date, hour uint16
}

func newZipEntry(about storage.Instance, conflicts bool) zipEntry {
	e := zipEntry{name: about.Key.SeriesInstanceUID + "/" + about.Key.SOPInstanceUID, size: about.Size, crc: about.CRC32}
	if conflicts { // several may have one SOPInstanceUID
		e.name += "." + about.Digest.String()[:zipDigestDigits]
	}
	e.name += ".dcm"
	t := time.Unix(0, about.Received).UTC()
	if year := t.Year(); year >= 1980 && year < 2108 {
		e.date = uint16((year-1980)<<9 | int(t.Month())<<5 | t.Day())
		e.hour = uint16(t.Hour()<<11 | t.Minute()<<5 | t.Second()/2)
	} else {
		e.date = 1<<5 | 1
	}
	return e
}

func (e zipEntry) large() bool { return e.size >= zipUnknown32 }

// appendCommon writes what the local header and the directory have in common,
// from the version to the length of the name.
func (e zipEntry) appendCommon(b []byte, version uint16) []byte {
	le := binary.LittleEndian
	b = le.AppendUint16(b, version)
	b = le.AppendUint16(b, 0) // flags
	b = le.AppendUint16(b, 0) // stored
	b = le.AppendUint16(le.AppendUint16(b, e.hour), e.date)
	b = le.AppendUint32(b, e.crc)
	size := uint32(min(e.size, zipUnknown32))
	b = le.AppendUint32(le.AppendUint32(b, size), size)
	return le.AppendUint16(b, uint16(len(e.name)))
}

func (e zipEntry) appendLocal(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, zipLocalHeader)
	if !e.large() {
		return append(le.AppendUint16(e.appendCommon(b, zipVersion), 0), e.name...)
	}
	b = append(le.AppendUint16(e.appendCommon(b, zip64Version), 20), e.name...)
	b = le.AppendUint16(le.AppendUint16(b, zip64Extra), 16)
	return le.AppendUint64(le.AppendUint64(b, uint64(e.size)), uint64(e.size))
}

// localLength is the length of appendLocal's bytes.
func (e zipEntry) localLength() int64 {
	n := int64(30 + len(e.name))
	if e.large() {
		n += 20
	}
	return n
}

func (e zipEntry) appendCentral(b []byte, offset int64) []byte {
	le := binary.LittleEndian
	var extra []byte
	if e.large() {
		extra = le.AppendUint64(le.AppendUint64(extra, uint64(e.size)), uint64(e.size))
	}
	if offset >= zipUnknown32 {
		extra = le.AppendUint64(extra, uint64(offset))
	}
	version := uint16(zipVersion)
	if extra != nil {
		version = zip64Version
		extra = append(le.AppendUint16(le.AppendUint16(nil, zip64Extra), uint16(len(extra))), extra...)
	}
	b = le.AppendUint32(b, zipCentral)
	b = le.AppendUint16(b, zipMadeOnUnix|version)
	b = e.appendCommon(b, version)
	b = le.AppendUint16(b, uint16(len(extra)))
	b = append(b, 0, 0, 0, 0, 0, 0) // comment, disk, internal attributes
	b = le.AppendUint32(b, zipRegularUnix)
	b = le.AppendUint32(b, uint32(min(offset, zipUnknown32)))
	return append(append(b, e.name...), extra...)
}

// zipDirectory counts what the end of a ZIP tells.
type zipDirectory struct {
	entries int64
	offset  int64 // of the next entry; after the last that of the directory
	size    int64
}

func (d *zipDirectory) add(e zipEntry, central int) {
	d.entries++
	d.offset += e.localLength() + e.size
	d.size += int64(central)
}

func (d *zipDirectory) append(b []byte) []byte {
	le := binary.LittleEndian
	if d.entries >= zipUnknown16 || d.offset >= zipUnknown32 || d.size >= zipUnknown32 {
		b = le.AppendUint64(le.AppendUint32(b, zip64End), zip64EndLength)
		b = le.AppendUint16(le.AppendUint16(b, zipMadeOnUnix|zip64Version), zip64Version)
		b = le.AppendUint64(b, 0) // disks
		b = le.AppendUint64(le.AppendUint64(b, uint64(d.entries)), uint64(d.entries))
		b = le.AppendUint64(le.AppendUint64(b, uint64(d.size)), uint64(d.offset))
		b = le.AppendUint32(le.AppendUint32(b, zip64Locator), 0)
		b = le.AppendUint32(le.AppendUint64(b, uint64(d.offset+d.size)), 1)
	}
	entries := uint16(min(d.entries, zipUnknown16))
	b = le.AppendUint32(le.AppendUint32(b, zipEnd), 0) // disks
	b = le.AppendUint16(le.AppendUint16(b, entries), entries)
	b = le.AppendUint32(b, uint32(min(d.size, zipUnknown32)))
	b = le.AppendUint32(b, uint32(min(d.offset, zipUnknown32)))
	return le.AppendUint16(b, 0)
}
