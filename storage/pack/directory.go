package pack

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sort"
	"sync"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/klauspost/compress/flate"
)

// Entry is an instance in a pack.
type Entry struct {
	storage.Instance
	// Offset is where its entry's content begins in the pack.
	Offset int64

	blocks   *blocks // nil when it lies there as it is
	metadata place
}

// Stored is the range in the pack where the instance's stored Part 10 form
// lies, compressed or as it is. Directory.Open reads it.
func (e *Entry) Stored() storage.Range {
	if e.blocks != nil {
		return storage.Range{Offset: e.Offset, Length: e.blocks.length}
	}
	return storage.Range{Offset: e.Offset, Length: e.Size}
}

// Compression tells how the instance lies in the pack.
func (e *Entry) Compression() Compression {
	if e.blocks == nil {
		return None
	}
	return setting(e.blocks.method)
}

// Directory is the index of a stored pack: some 350 bytes per instance, and for
// one that is compressed 100 and some 7 for each of its blocks.
type Directory struct {
	Header
	// Entries are in the order of the pack, which is that of Compare.
	Entries []Entry

	size     int64         // of the pack
	metadata storage.Range // the deflated bytes of the metadata entry
	inflated int64         // the length of the metadata entry
	index    pointer
	tables   int64     // bytes of all blocks
	slots    sync.Pool // of *slot
}

// Memory is about how many bytes the Directory takes.
func (d *Directory) Memory() int64 {
	const fixed, each = 320, 320
	return fixed + each*int64(len(d.Entries)) + d.tables
}

// tailLength is how much of a pack's end is read in the hope that its index
// lies in it, as that of some thousand instances does.
const tailLength = 256 << 10

// ReadDirectory reads the index of a stored pack, by one range read at its
// end and for a large pack a second. Whatever the blob holds, all ranges in
// the Directory lie inside the blob, do not overlap, and are sorted.
//
// A blob that is no pack, or damaged where it was read, is
// storage.ErrCorrupt; a pack of an earlier version is storage.ErrEarlierDigest,
// one of a later version storage.ErrUnsupported alone.
func ReadDirectory(ctx context.Context, blob Blob) (*Directory, error) {
	size := blob.Size()
	tail := make([]byte, max(0, min(size, tailLength)))
	if err := readFull(ctx, blob, size-int64(len(tail)), tail); err != nil {
		return nil, fmt.Errorf("read the end of a pack: %w", err)
	}
	p, err := findPointer(tail, size)
	if err != nil {
		return nil, err
	}
	var deflated io.Reader
	if from := p.offset - (size - int64(len(tail))); from >= 0 {
		deflated = bytes.NewReader(tail[from : from+p.compressed])
	} else {
		r, err := blob.Open(ctx, storage.Range{Offset: p.offset, Length: p.compressed})
		if err != nil {
			return nil, fmt.Errorf("read the index of a pack: %w", err)
		}
		defer r.Close()
		deflated = bufio.NewReaderSize(r, 64<<10)
	}
	d := &Directory{size: size, index: p}
	if err := d.read(deflated); err != nil {
		return nil, fmt.Errorf("index of a pack: %w", err)
	}
	return d, d.locateMetadata()
}

func readFull(ctx context.Context, blob Blob, offset int64, b []byte) error {
	r, err := blob.Open(ctx, storage.Range{Offset: offset, Length: int64(len(b))})
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.ReadFull(r, b)
	return asCorrupt(err)
}

// asCorrupt makes storage.ErrCorrupt of an early end and of what flate says;
// other errors are those of the blob.
func asCorrupt(err error) error {
	var input flate.CorruptInputError
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &input) {
		return fmt.Errorf("%w: %w", storage.ErrCorrupt, err)
	}
	return err
}

func corrupt(text string, args ...any) error {
	return fmt.Errorf("%w: %s", storage.ErrCorrupt, fmt.Sprintf(text, args...))
}

// findPointer finds the comment at the end of a pack.
func findPointer(tail []byte, size int64) (pointer, error) {
	last := tail[max(0, len(tail)-endLength-maxComment):]
	at := bytes.LastIndex(last, binary.LittleEndian.AppendUint32(nil, endSignature))
	if at < 0 || len(last)-at < endLength {
		return pointer{}, corrupt("no ZIP file ends here")
	}
	end := last[at:]
	comment := string(end[endLength:])
	if int(binary.LittleEndian.Uint16(end[endLength-2:])) != len(comment) {
		return pointer{}, corrupt("the ZIP file's comment is cut")
	}
	p, ok := parsePointer(comment)
	switch version := versionOf(comment); {
	case version < 1:
		return p, corrupt("the ZIP file is no pack")
	case version < Version:
		return p, fmt.Errorf("%w: pack of version %d", storage.ErrEarlierDigest, version)
	case version > Version:
		return p, fmt.Errorf("%w: pack of a later version: %q", storage.ErrUnsupported, comment)
	case !ok:
		return p, corrupt("the pack's comment is %q", comment)
	case p.size < 0 || !(storage.Range{Offset: p.offset, Length: p.compressed}).Within(size-int64(len(end))):
		return p, corrupt("the index is said to lie at %d, with %d bytes", p.offset, p.compressed)
	}
	return p, nil
}

// versionOf is what a comment begins with; that of a pack of another version
// may go on otherwise. It is 0 for a comment that is none of a pack.
func versionOf(comment string) (version int) {
	if _, err := fmt.Sscanf(comment, format+"/%d ", &version); err != nil {
		return 0
	}
	return version
}

// read reads the lines of the index.
func (d *Directory) read(deflated io.Reader) error {
	sum := crc32.NewIEEE()
	// One byte more than there should be, to notice it.
	inflated := io.TeeReader(io.LimitReader(flate.NewReader(deflated), d.index.size+1), sum)
	lines := &lineSource{Reader: bufio.NewReaderSize(inflated, 8<<10)}
	line, err := lines.next()
	if err != nil {
		return err
	}
	if err := d.readHeader(line); err != nil {
		return err
	}
	if err := d.readEntries(lines); err != nil {
		return err
	}
	if _, err := lines.ReadByte(); !errors.Is(err, io.EOF) {
		return corrupt("it goes on behind its %d instances", d.Instances)
	}
	if sum.Sum32() != d.index.crc {
		return corrupt("it has CRC-32 %08x, not %08x", sum.Sum32(), d.index.crc)
	}
	return nil
}

// lineSource gives lines of at most maxLine bytes.
type lineSource struct {
	*bufio.Reader
	long []byte // one that the reader's buffer does not hold
}

// next returns a line without its newline, valid until the next call.
func (s *lineSource) next() ([]byte, error) {
	line, err := s.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return line[:max(0, len(line)-1)], asCorrupt(err)
	}
	s.long = append(s.long[:0], line...)
	for errors.Is(err, bufio.ErrBufferFull) && len(s.long) < maxLine {
		line, err = s.ReadSlice('\n')
		s.long = append(s.long, line...)
	}
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, corrupt("a line of more than %d bytes", maxLine)
	}
	return s.long[:len(s.long)-1], asCorrupt(err)
}

func (d *Directory) readHeader(line []byte) error {
	if err := json.Unmarshal(line, &d.Header); err != nil {
		return corrupt("its header: %v", err)
	}
	// Each instance takes at least its two ZIP headers.
	most := min(MaxInstances, d.size/(localLength+centralLength))
	switch {
	case d.Format != format || d.Version != d.index.version:
		return corrupt("it is of %q version %d", d.Format, d.Version)
	case !storage.ValidUID(d.StudyInstanceUID) || !storage.ValidUID(d.SeriesInstanceUID):
		return corrupt("it names no series")
	case d.Instances < 1 || int64(d.Instances) > most:
		return corrupt("%d instances in %d bytes", d.Instances, d.size)
	}
	return nil
}

// readEntries reads the lines of the instances and compares what they say of
// places with the one layout that their sizes allow.
func (d *Directory) readEntries(lines *lineSource) error {
	r := lineReader{header: d.Header, known: map[string]string{}}
	d.Entries = make([]Entry, 0, min(d.Instances, 4096))
	at := int64(0)
	for i := range d.Instances {
		line, err := lines.next()
		if err != nil {
			return err
		}
		var e Entry
		if err := r.read(line, &e); err != nil {
			return corrupt("line %d: %v", i+2, err)
		}
		if err := d.admit(&e, &at); err != nil {
			return err
		}
		d.Entries = append(d.Entries, e)
	}
	return nil
}

// admit checks an entry that follows those that were read, and moves at
// behind its stored bytes.
func (d *Directory) admit(e *Entry, at *int64) error {
	sop, before := e.Key.SOPInstanceUID, ""
	if !storage.ValidUID(sop) {
		return corrupt("%q is not a UID", sop)
	}
	if n := len(d.Entries); n > 0 {
		last := &d.Entries[n-1]
		if before = last.Key.SOPInstanceUID; Compare(last.Instance, e.Instance) >= 0 {
			return corrupt("%s is not in its order", sop)
		}
	}
	if e.Size < 0 || e.Prefix < 0 || e.Prefix > e.Size {
		return corrupt("%s has %d bytes, its Data Set begins at %d", sop, e.Size, e.Prefix)
	}
	if b := e.blocks; b != nil {
		if !b.check(e.Size) {
			return corrupt("%s has blocks that cannot be", sop)
		}
		d.tables += 100 + int64(len(b.table))
	}
	*at += localSize(entryName(e.Instance, before), e.Stored().Length, e.Size)
	if e.Offset != *at || !e.Stored().Within(d.index.offset) {
		return corrupt("%s is said to lie at %d, with %d bytes", sop, e.Offset, e.Stored().Length)
	}
	*at = e.Stored().End()
	return d.admitPlace(e)
}

// admitPlace checks where the details of an entry are said to lie: behind the
// same restart point as those before it, or at a later one.
func (d *Directory) admitPlace(e *Entry) error {
	m := &e.metadata
	ok := m.Layout >= 0 && m.Layout <= MaxLayout && m.Attributes >= 0 && m.Attributes <= 1<<62-d.inflated
	if n := len(d.Entries); n == 0 {
		ok = ok && m.Restart == 0
	} else if last := &d.Entries[n-1]; m.Restart == last.metadata.Restart {
		m.skip = last.metadata.skip + last.detailLength()
	} else {
		ok = ok && m.Restart > last.metadata.Restart
	}
	if !ok {
		return corrupt("%s has details of %d and %d bytes behind %d", e.Key.SOPInstanceUID, m.Layout, m.Attributes, m.Restart)
	}
	d.inflated += e.detailLength()
	return nil
}

// detailLength is the length of an entry's line in the metadata entry.
func (e *Entry) detailLength() int64 {
	fixed := len(detailHead) + len(e.Key.SOPInstanceUID) + len(detailNeck) + len(detailMiddle) + len(detailTail)
	return int64(fixed) + e.metadata.Layout + e.metadata.Attributes
}

// locateMetadata finds the metadata entry, which lies between the last
// instance and the index.
func (d *Directory) locateMetadata() error {
	last := &d.Entries[len(d.Entries)-1]
	until := d.index.offset - localSize(indexTag, d.index.compressed, d.index.size)
	from := last.Stored().End()
	// The header's length depends on the entry's, and the other way round.
	from += localSize(metadataTag, max(0, until-from-localLength-int64(len(metadataTag))), d.inflated)
	d.metadata = storage.Range{Offset: from, Length: until - from}
	if until < from || last.metadata.Restart >= until-from {
		return corrupt("index of a pack: no room for the metadata before %d", until)
	}
	return nil
}

// Find returns the index of an instance in Entries. In a pack of conflicts it
// is the first of those that share the SOPInstanceUID.
func (d *Directory) Find(sopInstanceUID string) (i int, ok bool) {
	return sort.Find(len(d.Entries), func(i int) int {
		return compareUID(sopInstanceUID, d.Entries[i].Key.SOPInstanceUID)
	})
}
