// Package set makes one archive of several: what is put lies on some of them,
// and what is read comes from whichever has it and answers. See DESIGN.md.
package set

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
)

// Options say how a set treats its archives.
type Options struct {
	// Copies is on how many archives an object must lie before a Put is a
	// success; 0 is all, but at most 2.
	Copies int
	// Hedge is how long the first byte of a read may take before the next
	// archive is asked as well (1s).
	Hedge time.Duration
	// Stall is how long an archive may send nothing in mid-stream before it is
	// replaced by the next (5s). Time that the reader's owner takes is not
	// counted.
	Stall time.Duration
	// Rest is how long an archive that failed is asked only after the others
	// (1s); it doubles with each failure, up to MostRest (1 minute).
	Rest, MostRest time.Duration
	// Damaged is told of a copy whose bytes were found damaged, when it was read
	// or repaired. It is called by many goroutines and must not block.
	Damaged func(key, archive string, err error)
	// Repaired is told of an object of which a copy was brought back: what was
	// read of it before may have been damaged.
	Repaired func(key string)
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Set is an archive.Archive of several. It is made by New.
type Set struct {
	o         Options
	members   []*member
	dismissed sync.WaitGroup // calls that readers let go of
}

// New returns a set. The order of the archives is that of preference. They
// stay their owner's to close. No archive, two of one name, or more copies
// than archives are storage.ErrInvalid.
func New(archives []archive.Archive, o Options) (*Set, error) {
	if o.Copies == 0 {
		o.Copies = min(2, len(archives))
	}
	if o.Copies < 1 || o.Copies > len(archives) {
		return nil, fmt.Errorf("%w: %d copies on %d archives", storage.ErrInvalid, o.Copies, len(archives))
	}
	o.Hedge = cmp.Or(o.Hedge, time.Second)
	o.Stall = cmp.Or(o.Stall, 5*time.Second)
	o.Rest = cmp.Or(o.Rest, time.Second)
	o.MostRest = cmp.Or(o.MostRest, time.Minute)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Damaged == nil {
		o.Damaged = func(string, string, error) {}
	}
	if o.Repaired == nil {
		o.Repaired = func(string) {}
	}
	s := &Set{o: o}
	seen := map[string]bool{}
	for i, a := range archives {
		name := a.String()
		if seen[name] && name != "mem:" { // those in memory have all one name
			return nil, fmt.Errorf("%w: archive %s twice", storage.ErrInvalid, name)
		}
		seen[name] = true
		s.members = append(s.members, &member{Archive: a, at: i})
	}
	return s, nil
}

// Wait returns when nothing is under way any more that readers let go of.
func (s *Set) Wait() { s.dismissed.Wait() }

// String is the members' URLs in their order, parted by spaces.
func (s *Set) String() string {
	var names []string
	for _, m := range s.members {
		names = append(names, m.String())
	}
	return strings.Join(names, " ")
}

// Health is how an archive of the set fares.
type Health struct {
	Archive string
	// Failures is how often it failed since it last did what it was asked.
	Failures int
	// Resting is until when it is asked only after the others.
	Resting time.Time
	// Err is its last failure, when Failures is not 0.
	Err error
}

// Health tells how the archives fare, in their order.
func (s *Set) Health() []Health {
	var all []Health
	for _, m := range s.members {
		m.mu.Lock()
		all = append(all, Health{Archive: m.String(), Failures: m.failures, Resting: m.resting, Err: m.err})
		m.mu.Unlock()
	}
	return all
}

// member is an archive of the set, with how it fares.
type member struct {
	archive.Archive
	at int
	// hanging counts the calls that were let go and have not returned.
	hanging atomic.Int64

	mu       sync.Mutex
	failures int
	resting  time.Time
	err      error
}

// order is the members as they are to be asked: in the order of preference,
// those that rest, or in which calls hang, after the others.
func (s *Set) order() []*member {
	now := s.o.Now()
	var well, resting []*member
	for _, m := range s.members {
		m.mu.Lock()
		if m.resting.After(now) || m.hanging.Load() >= someHanging {
			resting = append(resting, m)
		} else {
			well = append(well, m)
		}
		m.mu.Unlock()
	}
	return slices.Concat(well, resting)
}

// note remembers how a call of a member ended. An answer about the object is
// no failure of the archive, nor is the caller's end.
func (s *Set) note(ctx context.Context, m *member, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case ctx.Err() != nil:
	case err == nil, aboutObject(err):
		m.failures, m.resting, m.err = 0, time.Time{}, nil
	default:
		m.failures++
		rest := min(s.o.Rest<<min(m.failures-1, 20), s.o.MostRest)
		m.resting, m.err = s.o.Now().Add(rest), err
	}
}

// aboutObject tells whether an archive that fails in this way works: not one
// that has lost its own folder or bucket, which is storage.ErrUnavailable, too.
func aboutObject(err error) bool {
	if errors.Is(err, storage.ErrUnavailable) {
		return false
	}
	for _, kind := range []error{storage.ErrNotFound, storage.ErrInvalid, storage.ErrConflict, storage.ErrCorrupt, storage.ErrTooLarge} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// verdict is what the failures of several archives say together. That one
// does not have an object says nothing as long as another cannot be asked.
func verdict(doing, key string, failures []error) error {
	var say []error
	for _, err := range failures {
		if !errors.Is(err, storage.ErrNotFound) {
			say = append(say, err)
		}
	}
	if say == nil {
		say = failures[:1]
	}
	return fmt.Errorf("%s %q: %w", doing, key, errors.Join(say...))
}

func accept(ctx context.Context, key string) error {
	return errors.Join(ctx.Err(), archive.ValidKey(key))
}

// Stat implements archive.Archive: as the first archive has it that answers.
func (s *Set) Stat(ctx context.Context, key string) (archive.Stat, error) {
	if err := accept(ctx, key); err != nil {
		return archive.Stat{}, err
	}
	var failures []error
	for _, m := range s.order() {
		stat, err := m.Stat(ctx, key)
		s.note(ctx, m, err)
		if err == nil || ctx.Err() != nil {
			return stat, err
		}
		failures = append(failures, err)
	}
	return archive.Stat{}, verdict("look at", key, failures)
}

// Remove implements archive.Archive. It is a success when no archive has the
// object any more: one that does not answer may have it.
func (s *Set) Remove(ctx context.Context, key string) error {
	if err := accept(ctx, key); err != nil {
		return err
	}
	return errors.Join(s.each(ctx, func(m *member) error { return m.Remove(ctx, key) })...)
}

// Check implements archive.Archive: enough archives for a Put can be written
// to. Health tells of each.
func (s *Set) Check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	well := 0
	failures := s.each(ctx, func(m *member) error { return m.Check(ctx) })
	for _, err := range failures {
		if err == nil {
			well++
		}
	}
	if well >= s.o.Copies {
		return nil
	}
	return fmt.Errorf("%d of %d archives can be written to, and %d are needed: %w",
		well, len(s.members), s.o.Copies, errors.Join(failures...))
}

// each asks all members at the same time.
func (s *Set) each(ctx context.Context, f func(*member) error) []error {
	errs := make([]error, len(s.members))
	var all sync.WaitGroup
	for i, m := range s.members {
		all.Go(func() {
			errs[i] = f(m)
			s.note(ctx, m, errs[i])
		})
	}
	all.Wait()
	return errs
}
