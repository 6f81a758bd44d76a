package puller

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/esante-alsace/cigogne/storage"
)

// place is where instances are put.
type place interface {
	// begun tells whether something is there already.
	begun() bool
	// begin prepares for a plan. It returns which instances are there and
	// whole, and the ranges that need not be fetched.
	begin(ctx context.Context, p *plan) (whole []bool, there []storage.Range, err error)
	// open opens the file of an instance, with positions from its begin.
	open(i int) (file, error)
	// gap keeps bytes between instances.
	gap(b []byte, offset int64) error
	// written tells that a range was, so that it needs not be fetched again.
	written(r storage.Range) error
	// complete ends with an instance that is whole. It calls kept, then or
	// later, when a pull that goes on after this one was killed finds it.
	complete(i int, kept func()) error
	// finish ends when all is there: it is then durable, under its name.
	finish(ctx context.Context) error
	// close gives back what is open, finished or not.
	close() error
}

type file interface {
	io.WriterAt
	io.ReaderAt
	io.Closer
}

// partSuffix is that of what is not whole yet.
const partSuffix = ".part"

// verifyAll looks which instances are whole, of those that may be.
func verifyAll(ctx context.Context, p *plan, maybe func(i int) bool, open func(i int) (file, error)) ([]bool, error) {
	whole := make([]bool, len(p.Instances))
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range runtime.GOMAXPROCS(0) {
		g.Go(func() error {
			buf := make([]byte, copyBytes)
			for i := int(next.Add(1)) - 1; i < len(whole) && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if !maybe(i) {
					continue
				}
				f, err := open(i)
				if errors.Is(err, fs.ErrNotExist) {
					continue
				}
				if err != nil {
					return err
				}
				whole[i], err = verify(f, p.Instances[i], buf)
				f.Close()
				if err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	return whole, g.Wait()
}

// zipPlace is a ZIP file.
type zipPlace struct {
	path   string
	plan   *plan
	file   *os.File
	ledger *ledger

	mu    sync.Mutex
	whole map[member]int64 // where instances lie that are whole
}

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
	l, there, same, err := openLedger(z.ledgerAt(), p)
	if err != nil {
		return nil, nil, err
	}
	z.plan, z.ledger = p, l
	flags := os.O_RDWR | os.O_CREATE
	if !same {
		flags |= os.O_TRUNC
		if err := os.Rename(z.part(), z.old()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, err
		}
	}
	if z.file, err = os.OpenFile(z.part(), flags, 0o600); err != nil {
		return nil, nil, err
	}
	if !same {
		if there, err = z.carry(ctx, p); err != nil {
			return nil, nil, err
		}
	}
	return z.check(ctx, there)
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
	z.whole = map[member]int64{}
	for i, ok := range whole {
		if ok {
			z.keep(i)
		} else if left.within(p.file(i)) == 0 {
			left.again(p.file(i))
		}
	}
	have := newSpans(p.Size)
	for _, r := range left.missing {
		have.remove(r)
	}
	return whole, have.missing, nil
}

// carry copies what is whole from the ZIP file as it was, when the study has
// changed meanwhile, and removes that file.
func (z *zipPlace) carry(ctx context.Context, p *plan) (there []storage.Range, err error) {
	from, err := os.Open(z.old())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer from.Close()
	for i, in := range p.Instances {
		at, ok := z.whole[memberOf(in)]
		if !ok || ctx.Err() != nil {
			continue
		}
		to := io.NewOffsetWriter(z.file, in.Offset)
		if _, err := io.Copy(to, io.NewSectionReader(from, at, in.Size)); err != nil {
			return nil, err
		}
		if err := z.ledger.note(p.file(i)); err != nil {
			return nil, err
		}
		there = append(there, p.file(i))
	}
	return there, os.Remove(z.old())
}

// keep remembers where an instance lies that is whole.
func (z *zipPlace) keep(i int) {
	in := z.plan.Instances[i]
	z.mu.Lock()
	defer z.mu.Unlock()
	z.whole[memberOf(in)] = in.Offset
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
	z.keep(i)
	// Ranges are noted when they are long, and by whoever wrote them.
	if err := z.ledger.note(z.plan.file(i)); err != nil {
		return err
	}
	kept()
	return nil
}

// finish compares the ZIP file's directory with the plan, for no digest is of
// it.
func (z *zipPlace) finish(context.Context) error {
	r, err := zip.NewReader(z.file, z.plan.Size)
	if err == nil && len(r.File) != len(z.plan.Instances) {
		err = fmt.Errorf("it lists %d files", len(r.File))
	}
	for i, in := range z.plan.Instances {
		if err != nil {
			break
		}
		f := r.File[i]
		var at int64
		at, err = f.DataOffset()
		name := in.SeriesInstanceUID + "/" + in.SOPInstanceUID + ".dcm"
		if err == nil && (f.Name != name || at != in.Offset || f.UncompressedSize64 != uint64(in.Size) || f.CRC32 != in.CRC32 || f.Method != zip.Store) {
			err = fmt.Errorf("it has %q in the place of %s", f.Name, name)
		}
	}
	if err != nil {
		os.Remove(z.ledgerAt()) // so that the next pull begins anew
		return fmt.Errorf("%w: the directory of the ZIP file is not what it should be: %w", storage.ErrCorrupt, err)
	}
	// What lay there before may have been longer, with a directory at its end.
	if err := z.file.Truncate(z.plan.Size); err != nil {
		return err
	}
	if err := z.file.Sync(); err != nil {
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

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
