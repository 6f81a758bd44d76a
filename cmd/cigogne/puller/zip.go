package puller

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"github.com/esante-alsace/cigogne/gateway/dicomweb"
	"github.com/esante-alsace/cigogne/storage"
)

// zipPlace is a ZIP file.
type zipPlace struct {
	path   string
	plan   *plan
	file   *os.File
	ledger *ledger
}

// old is the file as it was before the study changed, until what is whole in
// it was carried over.
func (z *zipPlace) old() string { return z.path + ".old" + partSuffix }

func (z *zipPlace) part() string     { return z.path + partSuffix }
func (z *zipPlace) ledgerAt() string { return z.part() + ".ledger" }

func (z *zipPlace) begun() bool {
	_, err := os.Stat(z.ledgerAt())
	return err == nil
}

func (z *zipPlace) begin(ctx context.Context, p *plan) ([]bool, []storage.Range, error) {
	if err := z.close(); err != nil {
		return nil, nil, err
	}
	l, says, err := openLedger(z.ledgerAt(), p)
	if err != nil {
		return nil, nil, err
	}
	z.plan, z.ledger = p, l
	if !says.same {
		if says.there, err = z.carry(ctx, says); err != nil {
			return nil, nil, err
		}
	} else if z.file, err = os.OpenFile(z.part(), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, nil, err
	}
	// Nothing is carried over any more, or was when a pull was killed.
	if err := os.Remove(z.old()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	return z.check(ctx, says.there)
}

// check verifies what is said to be there. What is not what it should be, is
// to be fetched.
func (z *zipPlace) check(ctx context.Context, there []storage.Range) ([]bool, []storage.Range, error) {
	p := z.plan
	left := newSpans(p.Size)
	for _, r := range there {
		left.remove(r)
	}
	whole, err := verifyAll(ctx, p, func(i int) bool { return left.within(p.file(i)) == 0 }, z.open)
	if err != nil {
		return nil, nil, err
	}
	again := func(r storage.Range) {
		if left.within(r) == 0 {
			left.again(r)
		}
	}
	for i, ok := range whole {
		if !z.headed(i) {
			again(p.gap(i))
		}
		if !ok {
			again(p.file(i))
		}
	}
	if z.directory() != nil {
		again(p.rest())
	}
	have := newSpans(p.Size)
	for _, r := range left.missing {
		have.remove(r)
	}
	return whole, have.missing, nil
}

// carry begins the ZIP file anew with what a ledger says to be whole in the one
// before: the study has changed. Killed meanwhile, it is done again: the ledger
// is of the one before until all is copied.
func (z *zipPlace) carry(ctx context.Context, says said) (there []storage.Range, err error) {
	if _, err := os.Lstat(z.old()); errors.Is(err, fs.ErrNotExist) {
		err := os.Rename(z.part(), z.old())
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	if z.file, err = os.OpenFile(z.part(), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600); err != nil {
		return nil, err
	}
	var carried []dicomweb.DigestOf
	from, err := os.Open(z.old())
	if err == nil {
		defer from.Close()
		carried, err = z.copyWhole(ctx, from, says.whole)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, in := range carried {
		there = append(there, storage.Range{Offset: in.Offset, Length: in.Size})
	}
	return there, z.ledger.begin(z.plan, carried)
}

// copyWhole copies the instances that are still asked for. What they are is
// verified afterwards.
func (z *zipPlace) copyWhole(ctx context.Context, from io.ReaderAt, whole map[member]storage.Range) (carried []dicomweb.DigestOf, err error) {
	for _, in := range z.plan.Instances {
		at, ok := whole[memberOf(in)]
		if !ok || at.Length != in.Size {
			continue
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		n, err := io.Copy(io.NewOffsetWriter(z.file, in.Offset), io.NewSectionReader(from, at.Offset, at.Length))
		if err != nil {
			return nil, err
		}
		if n == in.Size {
			carried = append(carried, in)
		}
	}
	return carried, nil
}

// section is the file of an instance inside a ZIP file.
type section struct {
	*os.File
	from int64
}

func (s section) WriteAt(b []byte, at int64) (int, error) { return s.File.WriteAt(b, s.from+at) }
func (s section) ReadAt(b []byte, at int64) (int, error)  { return s.File.ReadAt(b, s.from+at) }
func (section) Close() error                              { return nil }

func (z *zipPlace) open(i int) (file, error) { return section{z.file, z.plan.file(i).Offset}, nil }

func (z *zipPlace) gap(b []byte, offset int64) error {
	_, err := z.file.WriteAt(b, offset)
	return err
}

func (z *zipPlace) written(r storage.Range) error { return z.ledger.note(r) }

func (z *zipPlace) complete(i int, kept func()) error {
	// Ranges are noted when they are long, and by whoever wrote them.
	if err := z.ledger.noteWhole(z.plan.Instances[i]); err != nil {
		return err
	}
	kept()
	return nil
}

// nameOf is that of an instance in the ZIP file.
func nameOf(in dicomweb.DigestOf) string {
	return in.SeriesInstanceUID + "/" + in.SOPInstanceUID + ".dcm"
}

// headed tells whether the record before an instance (APPNOTE.TXT 6.3, §4.3.7)
// is of it.
func (z *zipPlace) headed(i int) bool {
	const fixed, longSizes = 30, 20 // bytes before the name and behind it
	in, gap := z.plan.Instances[i], z.plan.gap(i)
	name, extra := nameOf(in), 0
	if in.Size >= math.MaxUint32 {
		extra = longSizes
	}
	b := make([]byte, fixed+len(name)+extra)
	if _, err := z.file.ReadAt(b, gap.Offset); gap.Length != int64(len(b)) || err != nil {
		return false
	}
	le, size := binary.LittleEndian, uint32(min(in.Size, math.MaxUint32))
	want := append([]byte("PK\x03\x04"), b[4:8]...)              // version and flags
	want = append(le.AppendUint16(want, zip.Store), b[10:14]...) // time and date
	want = le.AppendUint32(le.AppendUint32(le.AppendUint32(want, in.CRC32), size), size)
	want = le.AppendUint16(le.AppendUint16(want, uint16(len(name))), uint16(extra))
	want = append(want, name...)
	if extra > 0 {
		want = le.AppendUint16(le.AppendUint16(want, 1), longSizes-4)
		want = le.AppendUint64(le.AppendUint64(want, uint64(in.Size)), uint64(in.Size))
	}
	return bytes.Equal(b, want)
}

// directory compares the ZIP file's directory with the plan.
func (z *zipPlace) directory() error {
	r, err := zip.NewReader(z.file, z.plan.Size)
	if err == nil && len(r.File) != len(z.plan.Instances) {
		err = fmt.Errorf("it lists %d files", len(r.File))
	}
	if err != nil {
		return err
	}
	for i, in := range z.plan.Instances {
		f, name := r.File[i], nameOf(in)
		if f.Name != name || f.UncompressedSize64 != uint64(in.Size) || f.CRC32 != in.CRC32 || f.Method != zip.Store {
			return fmt.Errorf("it has %q in the place of %s", f.Name, name)
		}
		at, err := f.DataOffset()
		if err != nil {
			return err
		}
		if at != in.Offset {
			return fmt.Errorf("it has %s at %d, not at %d", name, at, in.Offset)
		}
	}
	return nil
}

// finish compares what is not of instances with the plan, for no digest is of
// it. What is not as it should be is fetched by the next pull.
func (z *zipPlace) finish(_ context.Context, all bool) error {
	if !all {
		return nil
	}
	err := z.directory()
	for i := range z.plan.Instances {
		if err == nil && !z.headed(i) {
			err = fmt.Errorf("instance %s has the record of another", z.plan.Instances[i].SOPInstanceUID)
		}
	}
	if err != nil {
		return fmt.Errorf("%w: what the ZIP file says of its instances is not what it should be: %w", storage.ErrCorrupt, err)
	}
	// What lay there before may have been longer, with a directory at its end.
	if err := z.file.Truncate(z.plan.Size); err != nil {
		return err
	}
	if err := z.file.Sync(); err != nil {
		return err
	}
	switch _, err := os.Lstat(z.path); {
	case err == nil:
		return fmt.Errorf("%w: %s came to be there meanwhile, and is not replaced: move it away and pull again", storage.ErrConflict, z.path)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := os.Rename(z.part(), z.path); err != nil {
		return err
	}
	err = z.ledger.remove()
	z.ledger = nil
	return errors.Join(err, syncFolder(filepath.Dir(z.path)))
}

func (z *zipPlace) close() error {
	var errs []error
	if z.file != nil {
		errs = append(errs, z.file.Close())
	}
	if z.ledger != nil {
		errs = append(errs, z.ledger.close())
	}
	z.file, z.ledger = nil, nil
	return errors.Join(errs...)
}
