package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/sound"
)

// ErrClosed wraps storage.ErrUnavailable: the journal was closed.
var ErrClosed = fmt.Errorf("%w: the journal is closed", storage.ErrUnavailable)

// Journal is an open journal. Its methods may be called concurrently. Close
// must be called.
type Journal struct {
	o    Options
	fs   FS
	id   ID
	lock io.Closer
	// copied is true for the inside of a Copy: see there.
	copied bool
	pool   chunkPool
	// These serve who reads entries.
	descriptors descriptors
	guesses     sync.Pool // *[headerGuess]byte
	comparer    sound.Comparer
	recent      recent
	// slots holds one token per Pending that is not resolved yet.
	slots chan struct{}
	// wake tells the syncer that there is work; stopped is closed after it
	// has ended.
	wake    chan struct{}
	stopped chan struct{}
	// appends counts the open Appends.
	appends atomic.Int32
	// zeros are never written to.
	zeros [maxGap]byte
	// removing keeps Removes apart from each other.
	removing sync.Mutex

	mu       sync.Mutex
	segments []*segment // in order; the active one is the last
	active   *segment   // nil when none could be made yet
	highest  uint64     // the highest segment number that was tried
	kept     uint64     // the highest one that surely has a file
	largeNow int64      // bytes in large files whose record is not written yet
	lead     int64      // what preceded the body of the last record, its gap left out
	pending  []*Pending // written to the active segment, not yet durable
	sealers  []chan struct{}
	closed   bool
	failed   error         // of the last write, until one succeeds
	alive    bool          // something became durable since the last Check
	refused  int64         // how long what was refused for want of space is
	changed  chan struct{} // see watch; nil while nobody watches
	stats    Stats
}

// Open opens the journal in o.Dir and makes it when there is none. It takes a
// lock on the folder, cuts what a crash left half written at the end, and
// deletes large files that no record refers to. It fails with
// storage.ErrCorrupt when something that had been acknowledged is damaged
// (see Options.AllowDamage), and with storage.ErrUnavailable when another
// process has it open. ctx bounds Open alone.
func Open(ctx context.Context, o Options) (*Journal, error) {
	o = o.withDefaults()
	j := &Journal{
		o: o, fs: o.FS,
		pool:    newChunkPool(),
		lead:    headerGuess,
		slots:   make(chan struct{}, o.MaxPending),
		wake:    make(chan struct{}, 1),
		stopped: make(chan struct{}),
	}
	if err := j.open(ctx); err != nil {
		if j.lock != nil {
			err = errors.Join(err, j.lock.Close())
		}
		return nil, fmt.Errorf("journal %s: %w", o.Dir, err)
	}
	if o.ReadOnly {
		close(j.stopped)
		return j, nil
	}
	go j.sync()
	return j, nil
}

func (j *Journal) open(ctx context.Context) (err error) {
	if !j.o.ReadOnly {
		if err := j.fs.MkdirAll(j.largeDir()); err != nil {
			return err
		}
	}
	if j.lock, err = j.fs.LockDir(j.o.Dir, j.o.ReadOnly); err != nil {
		return fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
	}
	if err := j.loadID(); err != nil {
		return err
	}
	if err := j.recover(ctx); err != nil || j.o.ReadOnly {
		return err
	}
	if err := j.activate(); err != nil {
		// Reading works, and each Commit tries again.
		j.o.Logger.Warn("journal cannot take instances now", "dir", j.o.Dir, "err", err)
		j.failed = err
	}
	return nil
}

// ID names this journal among all journals, for ever.
func (j *Journal) ID() string { return j.id.String() }

// Close makes what was committed durable, waits for Options.Durable to
// return, and gives the folder free. Appends that are open then fail with
// ErrClosed. A second Close does nothing.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		<-j.stopped
		return nil
	}
	j.closed = true
	j.changes()
	j.mu.Unlock()
	j.poke()
	<-j.stopped

	if s := j.active; s != nil {
		s.seal(s.end, j.o)
	}
	return errors.Join(j.descriptors.close(), j.lock.Close())
}

// poke wakes the syncer.
func (j *Journal) poke() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// Segments lists the segments in the order of their numbers, the active one
// last.
func (j *Journal) Segments() []Segment {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.describe()
}

// describe describes the segments; mu is held.
func (j *Journal) describe() []Segment {
	list := make([]Segment, 0, len(j.segments))
	for _, s := range j.segments {
		list = append(list, s.describe())
	}
	return list
}

// Stats are the counters since Open, and what the journal takes now.
func (j *Journal) Stats() Stats {
	j.mu.Lock()
	defer j.mu.Unlock()
	st := j.stats
	st.Bytes = j.bytes()
	st.Segments = len(j.segments)
	st.Pending = len(j.slots)
	return st
}

// bytes is what the journal takes on the disk; mu is held.
func (j *Journal) bytes() int64 {
	n := j.largeNow
	for _, s := range j.segments {
		n += s.bytes()
	}
	return n
}

// reserve fails with storage.ErrFull when n more bytes pass MaxBytes, and with
// storage.ErrUnavailable, because there is space again as soon as something is
// archived; mu is held.
func (j *Journal) reserve(n int64) error {
	if limit := j.o.MaxBytes; limit > 0 && n > limit-j.bytes() {
		j.refused = min(n, limit/4) // what is too large for any journal is no want of space
		return fmt.Errorf("%w, %w: the journal may take %d bytes and has %d", storage.ErrFull, storage.ErrUnavailable, limit, j.bytes())
	}
	return nil
}

// find returns the segment, or nil; mu is held.
func (j *Journal) find(number uint64) *segment {
	i, ok := slices.BinarySearchFunc(j.segments, number, func(s *segment, n uint64) int {
		return Position{Segment: s.number}.Compare(Position{Segment: n})
	})
	if !ok {
		return nil
	}
	return j.segments[i]
}

func (j *Journal) largeDir() string { return filepath.Join(j.o.Dir, "large") }

func (j *Journal) largePath(id uint64) string {
	return filepath.Join(j.largeDir(), fmt.Sprintf("%016x", id))
}

func (j *Journal) segmentPath(number uint64) string {
	return filepath.Join(j.o.Dir, fmt.Sprintf("%016x.segment", number))
}

func (j *Journal) endPath(s *segment) string {
	return filepath.Join(j.o.Dir, fmt.Sprintf("%016x-%016x.end", s.number, s.end))
}

// diskError wraps an error of the file system with the sentinel that says
// what it means to the sender.
func diskError(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: %s: %w", storage.ErrFull, doing, err)
	}
	return fmt.Errorf("%w: %s: %w", storage.ErrUnavailable, doing, err)
}
