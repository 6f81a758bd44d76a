package index

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/esante-alsace/cigogne/storage"
)

// syncer makes the -wal and the folder durable. Linux tells each descriptor once
// of what did not reach the disk, and drops it: so these are open from before
// it was written, nobody else uses them, and after a failure nothing more is
// believed.
type syncer struct {
	mu       sync.Mutex // held while it syncs
	wal, dir *os.File
	failed   atomic.Pointer[error]
	// fsync takes the place of File.Sync in tests.
	fsync func(*os.File) error
}

// begin forgets earlier failures; the index is being opened.
func (d *syncer) begin() { d.failed.Store(nil) }

// open takes the descriptors.
func (d *syncer) open(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.take(path)
}

func (d *syncer) take(path string) (err error) {
	if d.wal == nil {
		d.wal, err = os.Open(path + "-wal")
		if errors.Is(err, os.ErrNotExist) {
			err = nil // all is in the database
		}
	}
	if err == nil && d.dir == nil {
		d.dir, err = os.Open(filepath.Dir(path))
	}
	return err
}

// sync makes durable what was written before.
func (d *syncer) sync(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.failing(); err != nil {
		return err
	}
	if err := d.take(path); err != nil {
		return fmt.Errorf("%w: sync the index: %w", storage.ErrUnavailable, err)
	}
	for _, f := range []*os.File{d.wal, d.dir} {
		if f == nil {
			continue
		}
		if err := d.one(f); err != nil {
			err = fmt.Errorf("%w: the disk may have lost some of the index: look at the disk, then start the node again: %w", storage.ErrUnavailable, err)
			d.failed.Store(&err)
			return err
		}
	}
	return nil
}

func (d *syncer) one(f *os.File) error {
	if d.fsync != nil {
		return d.fsync(f)
	}
	return f.Sync()
}

func (d *syncer) failing() error {
	if err := d.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (d *syncer) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, f := range []*os.File{d.wal, d.dir} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	d.wal, d.dir = nil, nil
	closed := errClosed
	d.failed.Store(&closed)
	return errors.Join(errs...)
}

// Sync returns when all that was applied before is durable: it will be there
// after the power fails. Journal space may be released only afterwards. When
// the disk lost some of it, that is storage.ErrUnavailable from then on, until
// the index is opened again.
func (x *Index) Sync(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if x.unsettled.Load() {
		x.apply.Lock()
		err := x.settleLate(ctx)
		x.apply.Unlock()
		if err != nil {
			return err
		}
	}
	// What is not in the -wal any more was brought into the file by a
	// checkpoint, which syncs it. The folder holds the names of both.
	return x.disk.sync(x.o.Path)
}

// syncHeld is Sync for who holds apply.
func (x *Index) syncHeld(ctx context.Context) error {
	if err := x.settleLate(ctx); err != nil {
		return err
	}
	return x.disk.sync(x.o.Path)
}

// Failing tells why Sync would fail, or nil.
func (x *Index) Failing() error { return x.disk.failing() }

// settle brings what a process that ended left in the -wal into the database,
// which syncs that: some of it may be in memory alone, after a failed Sync. A
// disk that is full keeps nobody from reading: then Sync sees to it.
func (x *Index) settle(ctx context.Context) error {
	err := x.checkpoint(ctx)
	later := errors.Is(err, storage.ErrFull) || errors.Is(err, storage.ErrUnavailable)
	if x.unsettled.Store(later); later {
		err = nil
	}
	return errors.Join(err, x.disk.open(x.o.Path))
}

// settleWait is how long readers of what is older are waited for.
const settleWait = time.Second

// settleLate is settle once that can be; apply is held, so that nobody writes
// more meanwhile.
func (x *Index) settleLate(ctx context.Context) error {
	if !x.unsettled.Load() {
		return nil
	}
	if x.closed || x.conn == nil {
		return errClosed
	}
	tick := time.NewTicker(settleWait / 50)
	defer tick.Stop()
	until := time.Now().Add(settleWait)
	err := x.checkpoint(ctx)
	for errors.Is(err, storage.ErrUnavailable) && time.Now().Before(until) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			err = x.checkpoint(ctx)
		}
	}
	x.unsettled.Store(err != nil)
	return err
}

// checkpoint brings all of the -wal into the database; apply is held. While
// somebody reads what is older it may be storage.ErrUnavailable.
func (x *Index) checkpoint(ctx context.Context) error {
	var busy, frames, done int64
	if err := x.conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(PASSIVE)").Scan(&busy, &frames, &done); err != nil {
		return failed(err)
	}
	if busy != 0 || done < frames {
		return fmt.Errorf("%w: %d of %d pages of the index were brought into its file", storage.ErrUnavailable, done, frames)
	}
	return nil
}

func syncFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
