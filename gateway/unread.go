package gateway

import (
	"context"
	"errors"
	"syscall"

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

// Reread has Run look once at what was passed over in the journal: a person may
// have put it back, or have taken it away. It must be called before Run.
func (x *Indexer) Reread(known *index.Index) { x.known = known }

func (x *Indexer) reread(ctx context.Context) error {
	if x.known == nil {
		return nil
	}
	unread, err := x.known.Unread(ctx, x.id)
	if err != nil {
		return err
	}
	for _, at := range unread {
		err := x.rereadOne(ctx, at)
		if errors.Is(err, storage.ErrNotFound) && x.copies == nil { // a person gave it up; a copy may be sound
			x.log.Warn("the segment of a damaged instance was taken away", "position", journalPosition(at).String())
			err = x.proposer.Propose(ctx, index.Batch{Journals: settled(at)})
		}
		if damaged(err) || errors.Is(err, storage.ErrNotFound) {
			x.log.Error("an acknowledged instance is still damaged in the journal: its segment is kept",
				"position", journalPosition(at).String(), "error", err)
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return nil
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
	if err != nil || m.moved > 0 { // they are settled when they are in the index
		return errors.Join(err, e.o.Indexer.Await(ctx))
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
// whether the index has what it holds, or has it deleted.
func (m *move) reread(ctx context.Context, at index.Position) (known bool, err error) {
	e, err := m.from.Header(ctx, journalPosition(at))
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil // another copy may have it
	}
	before := m.moved
	if err == nil {
		known, err = m.unknown(ctx, e)
	}
	unsound := m.unsound
	if err := m.passOver(e, err); err != nil {
		return false, err
	}
	return known && m.moved == before && m.unsound == unsound, nil
}
