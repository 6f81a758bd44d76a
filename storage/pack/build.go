package pack

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/klauspost/compress/flate"
)

// Options configures Build. The zero value asks for the defaults.
type Options struct {
	// SpoolDir is where that goes which is compressed and too large for memory;
	// empty means os.TempDir.
	SpoolDir string
	// SpoolMemory is the most bytes of it that stay in memory; 0 means 1 MiB.
	SpoolMemory int
	// SpoolInstances bounds the compressed instances in the spool; those beyond,
	// and those for which the disk has no room, are compressed again whenever
	// they are read. 0 means 256 MiB. The pack's bytes don't depend on it.
	SpoolInstances int64
	// Compression is how native pixel data is compressed.
	Compression Compression
	// Conflict marks a pack of instances that are kept aside.
	Conflict bool
}

// spoolInstances is the default of Options.SpoolInstances: room for what
// becomes of a pack of the usual size.
const spoolInstances = 256 << 20

const (
	// level is the deflate level; restartEvery is how many bytes of details
	// are deflated before a restart point. DESIGN.md has the figures.
	level        = 6
	restartEvery = 256 << 10
)

// Build lays out the pack of members, which must belong to one series and
// differ in SOPInstanceUID or Digest; their order does not matter. The same
// members and Compression give the same bytes. It reads the members' metadata,
// and the stored bytes of those that may be compressed; those of others are
// read when the pack is.
//
// Errors wrap storage.ErrInvalid for members that make no pack,
// storage.ErrUnsupported for a Compression that is not known,
// storage.ErrCorrupt for a member that is not as its CRC32 says, and
// storage.ErrFull when the spool's disk is. The Pack must be closed.
func Build(ctx context.Context, o Options, members []Member) (*Pack, error) {
	members = slices.Clone(members)
	slices.SortFunc(members, func(a, b Member) int { return Compare(a.Instance, b.Instance) })
	if err := checkMembers(members); err != nil {
		return nil, err
	}
	method, err := o.Compression.method()
	if err != nil {
		return nil, err
	}
	b := builder{
		method: method, room: cmp.Or(o.SpoolInstances, spoolInstances),
		pack: &Pack{
			members: members,
			spool:   &spool{dir: o.SpoolDir, limit: cmp.Or(o.SpoolMemory, 1<<20)},
			bulk:    &spool{dir: o.SpoolDir, limit: cmp.Or(o.SpoolMemory, 1<<20)},
			header: Header{
				Format: format, Version: Version, Conflict: o.Conflict, Instances: len(members),
				StudyInstanceUID: members[0].Key.StudyInstanceUID, SeriesInstanceUID: members[0].Key.SeriesInstanceUID,
			},
		},
	}
	if err := b.build(ctx); err != nil {
		_ = b.pack.Close()
		return nil, fmt.Errorf("pack of series %s: %w", b.pack.header.SeriesInstanceUID, err)
	}
	return b.pack, nil
}

// checkMembers tells whether sorted members make a pack.
func checkMembers(members []Member) error {
	if len(members) == 0 || len(members) > MaxInstances {
		return fmt.Errorf("%w: a pack of %d instances", storage.ErrInvalid, len(members))
	}
	for i, m := range members {
		if err := m.Key.Validate(); err != nil {
			return err
		}
		first := members[0].Key
		switch {
		case m.Key.StudyInstanceUID != first.StudyInstanceUID || m.Key.SeriesInstanceUID != first.SeriesInstanceUID:
			return fmt.Errorf("%w: a pack holds one series, not %s and %s", storage.ErrInvalid, first, m.Key)
		case m.Prefix < 0 || m.Prefix > m.Size:
			return fmt.Errorf("%w: %s has %d bytes, its Data Set begins at %d", storage.ErrInvalid, m.Key, m.Size, m.Prefix)
		case i > 0 && Compare(m.Instance, members[i-1].Instance) == 0:
			return fmt.Errorf("%w: %s is twice in a pack", storage.ErrInvalid, m.Key)
		}
	}
	return nil
}

// builder is the work of one Build.
type builder struct {
	pack       *Pack
	method     uint16
	compressor *compressor // nil until there is something to compress
	room       int64       // for compressed instances, in the spool
	entries    []zipEntry  // of the central directory
	blocks     []*blocks   // of each member, nil for one that is stored
	places     []place
}

func (b *builder) build(ctx context.Context) error {
	if err := b.addMembers(ctx); err != nil {
		return err
	}
	if err := b.addMetadata(ctx); err != nil {
		return err
	}
	index, err := b.addIndex()
	if err != nil {
		return err
	}
	d := directoryWriter{w: b.pack.spool, start: b.pack.size}
	from := b.pack.spool.size
	for i := range b.entries {
		if err := d.add(&b.entries[i]); err != nil {
			return err
		}
	}
	if err := d.finish(index.String()); err != nil {
		return err
	}
	b.pack.add(b.pack.spool.since(from))
	return nil
}

// addMembers lays out the members' entries.
func (b *builder) addMembers(ctx context.Context) error {
	before := ""
	for i := range b.pack.members {
		m := &b.pack.members[i]
		content, blocks, err := b.content(ctx, m)
		if err != nil {
			return err
		}
		e := zipEntry{
			name: entryName(m.Instance, before), method: stored, crc: m.CRC32,
			compressed: content.size, size: m.Size, offset: b.pack.size,
		}
		if blocks != nil {
			e.method = blocks.method
		}
		before = m.Key.SOPInstanceUID
		b.entries = append(b.entries, e)
		b.blocks = append(b.blocks, blocks)
		b.pack.add(inMemory(e.local()))
		b.pack.add(content)
	}
	b.compressor = nil // its memory is not needed any more
	return nil
}

// addMetadata deflates the details of all members.
func (b *builder) addMetadata(ctx context.Context) error {
	from := b.pack.spool.size
	w, err := newMetadataWriter(b.pack.spool)
	if err != nil {
		return err
	}
	for _, m := range b.pack.members {
		if err := ctx.Err(); err != nil {
			return err
		}
		p, err := w.write(ctx, m)
		if err != nil {
			return fmt.Errorf("metadata of %s: %w", m.Key, err)
		}
		b.places = append(b.places, p)
	}
	if err := w.deflate.Close(); err != nil {
		return err
	}
	b.addDeflated(metadataTag, from, w.size, w.crc)
	return nil
}

// addDeflated lays out an entry whose deflated bytes are those in the spool
// behind from, and returns their offset in the pack.
func (b *builder) addDeflated(name string, from, size int64, crc uint32) (offset int64) {
	e := zipEntry{
		name: name, method: deflated, crc: crc,
		compressed: b.pack.spool.size - from, size: size, offset: b.pack.size,
	}
	b.entries = append(b.entries, e)
	b.pack.add(inMemory(e.local()))
	offset = b.pack.size
	b.pack.add(b.pack.spool.since(from))
	return offset
}

// addIndex deflates the header and the line of each member.
func (b *builder) addIndex() (pointer, error) {
	from := b.pack.spool.size
	deflate, err := flate.NewWriter(b.pack.spool, level)
	if err != nil {
		return pointer{}, err
	}
	p := pointer{version: Version}
	line, err := json.Marshal(b.pack.header)
	for i := 0; err == nil; i++ {
		if len(line) >= maxLine {
			return p, fmt.Errorf("%w: an index line of %d bytes", storage.ErrInvalid, len(line))
		}
		line = append(line, '\n')
		p.crc = crc32.Update(p.crc, crc32.IEEETable, line)
		p.size += int64(len(line))
		if _, err = deflate.Write(line); err != nil || i == len(b.pack.members) {
			break
		}
		e := Entry{Instance: b.pack.members[i].Instance, Offset: b.memberOffset(i), blocks: b.blocks[i], metadata: b.places[i]}
		line, err = appendLine(line[:0], &e)
	}
	if err == nil {
		err = deflate.Close()
	}
	if err != nil {
		return p, err
	}
	p.offset = b.addDeflated(indexTag, from, p.size, p.crc)
	p.compressed = b.pack.spool.size - from
	return p, nil
}

// memberOffset is where the stored form of a member begins in the pack.
func (b *builder) memberOffset(i int) int64 {
	e := b.entries[i]
	return e.offset + localSize(e.name, e.compressed, e.size)
}

// metadataWriter deflates lines of details into a spool.
type metadataWriter struct {
	spool   *spool
	start   int64 // of the deflated bytes in the spool
	deflate *flate.Writer
	size    int64  // written so far
	crc     uint32 // of what was written so far
	restart int64  // the size at the last restart point
	place   place  // of the line that is being written
}

func newMetadataWriter(s *spool) (*metadataWriter, error) {
	deflate, err := flate.NewWriter(s, level)
	return &metadataWriter{spool: s, start: s.size, deflate: deflate}, err
}

// write writes a member's line. A restart point precedes it when enough was
// written since the last: the deflate stream is flushed to a byte's end, and
// what follows refers to nothing before.
func (w *metadataWriter) write(ctx context.Context, m Member) (place, error) {
	if w.size-w.restart >= restartEvery {
		if err := w.deflate.Flush(); err != nil {
			return place{}, err
		}
		w.deflate.Reset(w.spool)
		w.restart = w.size
		w.place.Restart = w.spool.size - w.start
	}
	w.place = place{Restart: w.place.Restart}
	layout, err := encodeLayout(m.Layout, m.Instance)
	if err != nil {
		return place{}, err
	}
	w.place.Layout = int64(len(layout))
	head := detailHead + m.Key.SOPInstanceUID + detailNeck
	if _, err := w.Write(slices.Concat([]byte(head), layout, []byte(detailMiddle))); err != nil {
		return place{}, err
	}
	object := &objectWriter{w: w}
	if err := m.WriteMetadata(ctx, object); err != nil {
		return place{}, err
	}
	w.place.Attributes = object.size
	if object.first != '{' || object.last != '}' {
		return place{}, fmt.Errorf("%w: it is not a JSON object", storage.ErrInvalid)
	}
	_, err = io.WriteString(w, detailTail)
	return w.place, err
}

// A line of details is these parts around the SOPInstanceUID, the layout and
// the attributes.
const (
	detailHead   = `{"sopInstanceUID":"`
	detailNeck   = `","layout":`
	detailMiddle = `,"attributes":`
	detailTail   = "}\n"
)

// Write implements io.Writer.
func (w *metadataWriter) Write(p []byte) (int, error) {
	w.crc = crc32.Update(w.crc, crc32.IEEETable, p)
	w.place.CRC32 = crc32.Update(w.place.CRC32, crc32.IEEETable, p)
	w.size += int64(len(p))
	return w.deflate.Write(p)
}

// objectWriter passes a JSON object on without its newlines: those inside
// become spaces, those around it are dropped.
type objectWriter struct {
	w           io.Writer
	size        int64
	newlines    int // held back
	first, last byte
}

// Write implements io.Writer.
func (o *objectWriter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		line, after, cut := bytes.Cut(rest, []byte("\n"))
		if err := o.writeLine(line); err != nil {
			return len(p) - len(rest), err
		}
		if rest = after; cut {
			o.newlines++
		}
	}
	return len(p), nil
}

func (o *objectWriter) writeLine(line []byte) error {
	if len(line) == 0 {
		return nil
	}
	if o.size == 0 {
		o.first = line[0]
	} else if o.newlines > 0 {
		o.size++
		if _, err := o.w.Write([]byte{' '}); err != nil {
			return err
		}
	}
	o.newlines, o.last = 0, line[len(line)-1]
	o.size += int64(len(line))
	_, err := o.w.Write(line)
	return err
}
