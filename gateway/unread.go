package gateway

import (
	"context"
	"errors"
	"slices"
	"syscall"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// passedOver tells the index which entries of a journal were left out.
func passedOver(id index.JournalID, unread []journal.Position) []index.JournalChange {
	if len(unread) == 0 {
		return nil
	}
	j := index.JournalChange{Journal: id}
	for _, p := range unread {
		j.Unread = append(j.Unread, indexPosition(id, p))
	}
	return []index.JournalChange{j}
}

// rereadMost is how much of what was passed over is looked at in one go while
// the node runs.
const rereadMost = 100

// rereader looks again at what was passed over in the journal. One goroutine
// uses it.
type rereader struct {
	known *index.Index // nil: it looks at nothing
	every time.Duration
	last  journal.Position // that was looked at
	told  map[journal.Position]bool
}

// Reread has Run look at what was passed over in the journal, when it begins and
// at every interval: a person may have put it back, or have taken it away, or
// the disk reads it by now. It must be called before Run.
func (x *Indexer) Reread(known *index.Index, every time.Duration) {
	x.again = rereader{known: known, every: every, told: map[journal.Position]bool{}}
}

// rereading rereads until ctx ends. It is beside what is indexed, which a disk
// that fails slowly must not hold up.
func (x *Indexer) rereading(ctx context.Context) {
	for pause(ctx, x.again.every) == nil {
		x.reread(ctx, rereadMost)
	}
}

// reread looks at what comes after what was looked at last, in turn.
func (x *Indexer) reread(ctx context.Context, most int) {
	if err := x.rereadSome(ctx, most); err != nil && ctx.Err() == nil {
		x.log.Error("what was passed over in the journal is not looked at again", "error", err)
	}
}

func (x *Indexer) rereadSome(ctx context.Context, most int) error {
	unread, err := x.again.known.Unread(ctx, x.id)
	if err != nil {
		return err
	}
	next := max(0, slices.IndexFunc(unread, func(at index.Position) bool { return journalPosition(at).Compare(x.again.last) > 0 }))
	unread = slices.Concat(unread[next:], unread[:next])
	for _, at := range unread[:min(most, len(unread))] {
		err := x.rereadOne(ctx, at)
		if errors.Is(err, storage.ErrNotFound) && x.copies == nil { // a person gave it up; a copy may be sound
			x.log.Warn("the segment of a damaged instance was taken away", "position", journalPosition(at).String())
			err = x.proposer.Propose(ctx, index.Batch{Journals: settled(at)})
		}
		if damaged(err) || errors.Is(err, storage.ErrNotFound) {
			x.tellDamaged(at, err)
			err = nil
		}
		if err != nil {
			return err
		}
		x.again.last = journalPosition(at)
	}
	return nil
}

// tellDamaged logs once what is still damaged.
func (x *Indexer) tellDamaged(at index.Position, err error) {
	p := journalPosition(at)
	if !x.again.told[p] {
		x.again.told[p] = true
		x.log.Error("an acknowledged instance is still damaged in the journal: its segment is kept", "position", p.String(), "error", err)
	}
}

func (x *Indexer) rereadOne(ctx context.Context, at index.Position) error {
	e, err := x.journal.Header(ctx, journalPosition(at))
	if err != nil {
		return err
	}
	r, err := readRecord(ctx, x.journal, e)
	if err != nil {
		return err
	}
	in := r.indexed(x.id, e.Position)
	in.From = append(in.From, at) // it may have been deleted since
	return x.proposer.Propose(ctx, index.Batch{Received: []index.Instance{in}, Journals: settled(at)})
}

// damaged tells that what was acknowledged is not what is read, or that the disk
// does not read it: another copy may have it.
func damaged(err error) bool {
	return errors.Is(err, storage.ErrCorrupt) || errors.Is(err, syscall.EIO)
}

// settled tells the index that an entry was read after all, or is not needed.
func settled(at index.Position) []index.JournalChange {
	return []index.JournalChange{{Journal: at.Journal, Settled: []index.Position{at}}}
}

// recover receives again, out of the copy of a journal that is in use, what
// whose journal it is could not read.
func (e *Evacuator) recover(ctx context.Context, id index.JournalID, unread []index.Position, from *journal.Copy) error {
	m := &move{Evacuator: e, from: from}
	var done []index.Position
	for _, at := range unread {
		known, err := m.reread(ctx, at)
		if err != nil {
			return errors.Join(err, m.settle(ctx))
		}
		if known {
			done = append(done, at)
		}
	}
	err := m.settle(ctx)
	if m.moved > 0 {
		e.o.Logger.Info("what is damaged in a journal was received again from its copy", "journal", string(id), "instances", m.moved)
	}
	if err != nil || m.moved+len(done) > 0 {
		err = errors.Join(err, e.o.Indexer.Await(ctx))
	}
	if err != nil || m.moved > 0 { // they are settled when they are in the index
		return err
	}
	for _, at := range done {
		if err := e.o.Proposer.Propose(ctx, index.Batch{Journals: settled(at)}); err != nil {
			return err
		}
		delete(e.again, at)
	}
	return nil
}

// reread receives an entry again that was passed over elsewhere, and tells
// whether the index has what it holds, or has it deleted, or was given it and
// had no use for it.
func (m *move) reread(ctx context.Context, at index.Position) (known bool, err error) {
	if m.again[at] {
		return true, nil
	}
	e, err := m.from.Header(ctx, journalPosition(at))
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil // another copy may have it
	}
	before := m.moved
	if err == nil {
		known, err = m.unknown(ctx, e)
	}
	unsound := m.unsound
	if err := m.passOver(at, err); err != nil {
		return false, err
	}
	return known && m.moved == before && m.unsound == unsound, nil
}
