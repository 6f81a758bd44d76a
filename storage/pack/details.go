package pack

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/klauspost/compress/flate"
)

// Details calls fn for each of the entries [from,to) of a pack whose Directory
// this is, in their order, with the instance's layout, which is nil when it is
// not known, and its DICOM JSON object. It makes one range read and keeps one
// layout in memory. The reader is valid until fn returns, and need not be read
// to its end; it implements io.WriterTo.
//
// Each instance's details are checked against their CRC32 when fn has
// returned: only then a mismatch fails with storage.ErrCorrupt. An error of
// fn ends the work and is returned as it is.
func (d *Directory) Details(ctx context.Context, blob Blob, from, to int, fn func(i int, layout *dicom.Layout, metadata io.Reader) error) error {
	return d.readDetails(ctx, blob, from, to, true, fn)
}

// Metadata is Details without the layouts, which take longer to be decoded than
// all the rest of an instance's to be read.
func (d *Directory) Metadata(ctx context.Context, blob Blob, from, to int, fn func(i int, metadata io.Reader) error) error {
	return d.readDetails(ctx, blob, from, to, false, func(i int, _ *dicom.Layout, metadata io.Reader) error {
		return fn(i, metadata)
	})
}

func (d *Directory) readDetails(ctx context.Context, blob Blob, from, to int, layouts bool, fn func(int, *dicom.Layout, io.Reader) error) error {
	if from < 0 || to > len(d.Entries) || from > to {
		return fmt.Errorf("%w: details of instances %d to %d of %d", storage.ErrInvalid, from, to, len(d.Entries))
	}
	if from == to {
		return nil
	}
	src, err := blob.Open(ctx, d.detailRange(from, to))
	if err != nil {
		return fmt.Errorf("read the metadata of a pack: %w", err)
	}
	defer src.Close()
	r := detailReader{layouts: layouts, inflate: flate.NewReader(bufio.NewReaderSize(src, 64<<10))}
	if _, err := io.CopyN(io.Discard, r.inflate, d.Entries[from].metadata.skip); err != nil {
		return fmt.Errorf("metadata of a pack: %w", asCorrupt(err))
	}
	for i := from; i < to; i++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.read(i, &d.Entries[i], fn); err != nil {
			return err
		}
	}
	return nil
}

// DetailsWith tells of which entries [from,to) the details are inflated
// together with those of entry i.
func (d *Directory) DetailsWith(i int) (from, to int) {
	same := func(n int) bool { return d.Entries[n].metadata.Restart == d.Entries[i].metadata.Restart }
	for from = i; from > 0 && same(from-1); {
		from--
	}
	for to = i + 1; to < len(d.Entries) && same(to); {
		to++
	}
	return from, to
}

// detailRange is the range of the pack that must be inflated to reach the
// details of the entries [from,to): from a restart point up to another.
func (d *Directory) detailRange(from, to int) storage.Range {
	start, last := d.Entries[from].metadata.Restart, d.Entries[to-1].metadata.Restart
	until := d.metadata.Length
	for _, e := range d.Entries[to:] {
		if e.metadata.Restart > last {
			until = e.metadata.Restart
			break
		}
	}
	return d.metadata.Sub(storage.Range{Offset: start, Length: until - start})
}

// detailReader reads lines of the metadata entry.
type detailReader struct {
	layouts bool // are wanted
	inflate io.Reader
	crc     uint32
	buf     []byte // of the layout
	copyBuf []byte
}

// read reads an entry's line.
func (r *detailReader) read(i int, e *Entry, fn func(int, *dicom.Layout, io.Reader) error) error {
	r.crc = 0
	layout, err := r.readLayout(e)
	if err != nil {
		return fmt.Errorf("metadata of %s: %w", e.Key, err)
	}
	object := &object{detailReader: r, left: e.metadata.Attributes}
	if err := fn(i, layout, object); err != nil {
		return err
	}
	if err := object.drain(); err != nil {
		return fmt.Errorf("metadata of %s: %w", e.Key, err)
	}
	if tail, err := r.take(int64(len(detailTail))); err != nil || string(tail) != detailTail || r.crc != e.metadata.CRC32 {
		return fmt.Errorf("metadata of %s: %w", e.Key, corrupt("the CRC-32 is %08x, not %08x (%v)", r.crc, e.metadata.CRC32, err))
	}
	return nil
}

// readLayout reads a line up to its attributes. The layout is nil when none is
// wanted.
func (r *detailReader) readLayout(e *Entry) (*dicom.Layout, error) {
	head := []byte(detailHead + e.Key.SOPInstanceUID + detailNeck)
	b, err := r.take(int64(len(head)) + e.metadata.Layout + int64(len(detailMiddle)))
	if err != nil {
		return nil, err
	}
	b, begins := bytes.CutPrefix(b, head)
	b, ends := bytes.CutSuffix(b, []byte(detailMiddle))
	if !begins || !ends {
		return nil, corrupt("the details of another instance are in their place")
	}
	if !r.layouts {
		return nil, nil
	}
	layout, err := decodeLayout(b, e.Instance)
	if err != nil {
		return nil, corrupt("layout: %v", err)
	}
	return layout, nil
}

// take reads n bytes; they are valid until the next call.
func (r *detailReader) take(n int64) ([]byte, error) {
	// Grown as bytes come, so that a length alone allocates nothing.
	b := r.buf[:0]
	for int64(len(b)) < n {
		if len(b) == cap(b) {
			b = append(b, make([]byte, min(n-int64(len(b)), 64<<10))...)[:len(b)]
		}
		m, err := io.ReadFull(r.inflate, b[len(b):min(int64(cap(b)), n)])
		b = b[:len(b)+m]
		if err != nil {
			return nil, asCorrupt(err)
		}
	}
	r.buf = b
	r.crc = crc32.Update(r.crc, crc32.IEEETable, b)
	return b, nil
}

// object reads the attributes of one line.
type object struct {
	*detailReader
	left int64
}

// Read implements io.Reader.
func (o *object) Read(p []byte) (int, error) {
	if o.left == 0 {
		return 0, io.EOF
	}
	n, err := o.inflate.Read(p[:min(int64(len(p)), o.left)])
	o.crc = crc32.Update(o.crc, crc32.IEEETable, p[:n])
	o.left -= int64(n)
	if o.left == 0 {
		err = nil // of what follows
	}
	return n, asCorrupt(err)
}

// WriteTo implements io.WriterTo.
func (o *object) WriteTo(w io.Writer) (int64, error) {
	if o.copyBuf == nil {
		o.copyBuf = make([]byte, 32<<10)
	}
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{o}, o.copyBuf)
}

// drain reads what fn has left.
func (o *object) drain() error {
	_, err := o.WriteTo(io.Discard)
	return err
}
