package pack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/klauspost/compress/flate"
)

// Verify reads a stored pack from its first byte to its last and calls fn with
// each problem, in words for the person who must repair it. It compares every
// instance with its CRC-32 and its digest, the details with their checksums,
// and all ZIP headers with what the index says they must be. It returns an
// error only when the blob could not be read.
func Verify(ctx context.Context, blob Blob, fn func(problem string)) error {
	d, err := ReadDirectory(ctx, blob)
	if errors.Is(err, storage.ErrCorrupt) || errors.Is(err, storage.ErrUnsupported) {
		fn(fmt.Sprintf("the pack cannot be opened: %v", err))
		return nil
	}
	if err != nil {
		return err
	}
	src, err := blob.Open(ctx, storage.Range{Length: blob.Size()})
	if err != nil {
		return fmt.Errorf("verify a pack: %w", err)
	}
	defer src.Close()
	v := verifier{ctx: ctx, src: src, d: d, fn: fn, buf: make([]byte, 256<<10)}
	if err := v.verify(); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		fn(fmt.Sprintf("the pack ends before its %d bytes", blob.Size()))
	} else if err != nil {
		return fmt.Errorf("verify a pack: %w", err)
	}
	return v.verifyDetails(blob)
}

// verifier reads a pack in one go.
type verifier struct {
	ctx     context.Context
	src     io.Reader
	d       *Directory
	fn      func(string)
	buf     []byte
	slot    slot
	entries []zipEntry // as the central directory must list them
}

func (v *verifier) problem(text string, args ...any) { v.fn(fmt.Sprintf(text, args...)) }

func (v *verifier) verify() error {
	before := ""
	for i := range v.d.Entries {
		e := &v.d.Entries[i]
		name := entryName(e.Instance, before)
		before = e.Key.SOPInstanceUID
		z := zipEntry{name: name, method: stored, crc: e.CRC32, compressed: e.Stored().Length, size: e.Size}
		if e.blocks != nil {
			z.method = e.blocks.method
		}
		z.offset = e.Offset - localSize(name, z.compressed, z.size)
		if err := errors.Join(v.ctx.Err(), v.verifyHeader(&z), v.verifyInstance(e)); err != nil {
			return err
		}
		v.entries = append(v.entries, z)
	}
	if err := v.verifyDeflated(metadataTag, v.d.metadata, v.d.inflated); err != nil {
		return err
	}
	p := v.d.index
	if err := v.verifyDeflated(indexTag, storage.Range{Offset: p.offset, Length: p.compressed}, p.size); err != nil {
		return err
	}
	return v.verifyCentral()
}

// verifyHeader compares the next bytes with a local header.
func (v *verifier) verifyHeader(z *zipEntry) error {
	want := z.local()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(v.src, got); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		v.problem("the ZIP header of %s at %d is not as the index says", z.name, z.offset)
	}
	return nil
}

func (v *verifier) verifyInstance(e *Entry) error {
	sum := instanceSum{prefix: e.Prefix, crc: crc32.NewIEEE(), digest: storage.NewDigester()}
	if e.blocks != nil {
		if err := v.verifyBlocks(e, &sum); err != nil {
			return err
		}
	} else if n, err := io.CopyBuffer(&sum, io.LimitReader(v.src, e.Size), v.buf); err != nil {
		return err
	} else if n < e.Size {
		return io.ErrUnexpectedEOF
	}
	if crc := sum.crc.Sum32(); crc != e.CRC32 {
		v.problem("instance %s: its stored form has CRC-32 %08x, not %08x", e.Key, crc, e.CRC32)
	}
	if digest := sum.digest.Digest(); digest != e.Digest {
		v.problem("instance %s: its Data Set has BLAKE3 %s, not %s", e.Key, digest, e.Digest)
	}
	return nil
}

// verifyBlocks decompresses an instance block by block, past those that cannot
// be.
func (v *verifier) verifyBlocks(e *Entry, sum io.Writer) error {
	walk := e.blocks.walk(e.Size)
	for b, ok := walk.next(); ok; b, ok = walk.next() {
		s := &v.slot
		if err := s.fetch(v.src, b); err != nil {
			return err
		}
		if err := s.decode(e.blocks.method); err != nil {
			v.problem("instance %s: %v", e.Key, err)
		}
		if _, err := sum.Write(s.raw); err != nil {
			return err
		}
	}
	return v.ctx.Err()
}

// instanceSum sums up an instance's stored form.
type instanceSum struct {
	prefix int64 // what is left of it
	crc    hash.Hash32
	digest *storage.Digester // of what is behind the prefix
}

// Write implements io.Writer.
func (s *instanceSum) Write(p []byte) (int, error) {
	s.crc.Write(p)
	skip := min(s.prefix, int64(len(p)))
	s.prefix -= skip
	s.digest.Write(p[skip:])
	return len(p), nil
}

// verifyDeflated inflates an entry and compares its header with what comes of
// it.
func (v *verifier) verifyDeflated(name string, r storage.Range, size int64) error {
	z := zipEntry{name: name, method: deflated, compressed: r.Length, size: size}
	head := make([]byte, localSize(name, r.Length, size))
	z.offset = r.Offset - int64(len(head))
	if _, err := io.ReadFull(v.src, head); err != nil {
		return err
	}
	crc := crc32.NewIEEE()
	raw := io.LimitReader(v.src, r.Length)
	n, err := io.CopyBuffer(crc, io.LimitReader(flate.NewReader(raw), size+1), v.buf)
	if err = asCorrupt(err); err != nil && !errors.Is(err, storage.ErrCorrupt) {
		return err
	}
	if err != nil || n != size {
		v.problem("%s cannot be inflated to %d bytes: %d came (%v)", name, size, n, err)
	}
	if left, err := io.CopyBuffer(io.Discard, raw, v.buf); err != nil {
		return err
	} else if left > 0 && n == size {
		v.problem("%s has %d bytes behind its end", name, left)
	}
	if z.crc = crc.Sum32(); !bytes.Equal(head, z.local()) {
		v.problem("the ZIP header of %s at %d is not that of its content", name, z.offset)
	}
	v.entries = append(v.entries, z)
	return nil
}

// verifyCentral compares the rest of the pack with the central directory that
// the entries must have.
func (v *verifier) verifyCentral() error {
	want := &comparer{r: v.src}
	d := directoryWriter{w: want, start: v.d.index.offset + v.d.index.compressed}
	for i := range v.entries {
		if err := d.add(&v.entries[i]); err != nil {
			return err
		}
	}
	if err := d.finish(v.d.index.String()); err != nil {
		return err
	}
	if want.differs {
		v.problem("the ZIP central directory is not that of the pack's entries: unzip may fail, Cigogne does not need it")
	}
	if n, err := io.CopyBuffer(io.Discard, v.src, v.buf); err != nil {
		return err
	} else if n > 0 {
		v.problem("%d bytes lie behind the pack's end", n)
	}
	return nil
}

// comparer is a writer that notes whether it was given other bytes than a
// reader has.
type comparer struct {
	r       io.Reader
	buf     []byte
	differs bool
}

func (c *comparer) Write(p []byte) (int, error) {
	c.buf = append(c.buf[:0], p...)
	if _, err := io.ReadFull(c.r, c.buf); err != nil {
		return 0, err
	}
	c.differs = c.differs || !bytes.Equal(c.buf, p)
	return len(p), nil
}

// verifyDetails reads the details as Details does, from one restart point at
// a time so that one that is damaged does not hide the next.
func (v *verifier) verifyDetails(blob Blob) error {
	n := len(v.d.Entries)
	for from, to := 0, 1; from < n; from, to = to, to+1 {
		for to < n && v.d.Entries[to].metadata.Restart == v.d.Entries[from].metadata.Restart {
			to++
		}
		err := v.d.Details(v.ctx, blob, from, to, func(int, *dicom.Layout, io.Reader) error { return nil })
		switch {
		case errors.Is(err, storage.ErrCorrupt):
			v.problem("%v", err)
		case err != nil:
			return err
		}
	}
	return nil
}
