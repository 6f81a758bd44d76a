package gateway

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// Held are the journals of which a copy lies on this node.
type Held interface {
	Journals() []string
	// Copy is nil for a journal of which none does.
	Copy(id string) *journal.Copy
	Remove(id string) error
}

// EvacuatorOptions are the parts an Evacuator works with.
type EvacuatorOptions struct {
	Index    *index.Index
	Proposer Proposer
	Journal  *journal.Journal
	Indexer  *Indexer
	Copies   Copies
	Held     Held
	// Gone tells of a node that it belongs to the cluster no more: its journal
	// will be retired. Nil: no such thing is known.
	Gone   func(node string) bool
	Logger *slog.Logger
}

// Evacuator empties the copies of journals that are retired: what is in use of
// them, or was never indexed, is received again into this node's own journal,
// byte for byte, with all that follows. It is the same whoever does it, how
// often, and whether another does it, too: the index moves each instance once.
// Of journals that are in use it receives again what is damaged there.
type Evacuator struct {
	o EvacuatorOptions

	mu    sync.Mutex
	begun map[string]Evacuation

	// again has what was received again, and may not be in the index yet; for
	// Pass alone.
	again map[index.Position]bool
	// told has what is damaged in a copy and was logged; for Pass alone.
	told map[index.Position]bool
}

// Evacuation is how far a retired journal is emptied here.
type Evacuation struct {
	// Moved counts the instances that were received again, and Elsewhere those
	// of which another node must have the copy.
	Moved, Elsewhere int
	Err              error
}

const (
	evacuateBeat = time.Second
	// evacuateWindow is how many instances become durable at the same time.
	evacuateWindow = 32
	// fromMost is how many of its earlier places go along with an instance.
	fromMost = 16
)

// NewEvacuator returns an Evacuator; Run sets it to work.
func NewEvacuator(o EvacuatorOptions) *Evacuator {
	return &Evacuator{o: o, begun: map[string]Evacuation{}, again: map[index.Position]bool{}, told: map[index.Position]bool{}}
}

// Run empties what is retired until ctx ends.
func (e *Evacuator) Run(ctx context.Context) error {
	for {
		if err := e.Pass(ctx); err != nil && ctx.Err() == nil {
			e.o.Logger.Error("retired journals are not emptied yet, will try again", "error", err)
		}
		if err := pause(ctx, evacuateBeat); err != nil {
			return err
		}
	}
}

// Left tells of the journals, retired or about to be, of which a copy lies here
// that is not emptied yet, whether that was begun or not.
func (e *Evacuator) Left(ctx context.Context) (map[string]Evacuation, error) {
	states, err := e.o.Index.Journals(ctx)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	left := map[string]Evacuation{}
	for _, s := range states {
		over := s.Retired || e.o.Gone != nil && e.o.Gone(s.Node)
		if id := string(s.Journal); over && e.o.Held.Copy(id) != nil {
			left[id] = e.begun[id]
		}
	}
	return left, nil
}

// Pass does once what can be done now, and returns what failed. One goroutine
// calls it.
func (e *Evacuator) Pass(ctx context.Context) error {
	states, err := e.o.Index.Journals(ctx)
	if err != nil {
		return err
	}
	var failed []error
	for _, s := range states {
		c := e.o.Held.Copy(string(s.Journal))
		if c == nil {
			continue
		}
		if err := e.see(ctx, s, c); err != nil {
			failed = append(failed, fmt.Errorf("journal %s: %w", s.Journal, err))
		}
	}
	return errors.Join(failed...)
}

// see does what there is to do with one copy.
func (e *Evacuator) see(ctx context.Context, s index.JournalState, c *journal.Copy) error {
	unread, err := e.o.Index.Unread(ctx, s.Journal)
	if err != nil || !s.Retired && len(unread) == 0 {
		return err
	}
	if e.o.Copies != nil {
		if err := e.o.Copies.Failing(); err != nil {
			return err // it would lie in one place alone
		}
	}
	if s.Retired {
		return e.empty(ctx, s, unread, c)
	}
	return e.recover(ctx, s.Journal, unread, c)
}

// empty moves what it can, and removes the copy when nothing of it is needed.
func (e *Evacuator) empty(ctx context.Context, s index.JournalState, unread []index.Position, c *journal.Copy) error {
	c.Retire() // from here on all that was ever acknowledged by this copy is in it
	m := &move{Evacuator: e, from: c}
	err := m.all(ctx, s, unread)
	if serr := m.settle(ctx); err == nil {
		err = serr
	}
	e.note(s.Journal, m, err)
	if err != nil || m.moved > 0 { // look again when they are in the index
		return errors.Join(err, e.o.Indexer.Await(ctx))
	}
	lies, err := e.o.Index.Lies(ctx, s.Journal)
	if err != nil || lies || m.unsound > 0 {
		return err // it lies elsewhere, or may be put back by a person
	}
	if err := e.o.Index.Sync(ctx); err != nil {
		return err
	}
	if err := e.o.Held.Remove(string(s.Journal)); err != nil {
		return err
	}
	e.o.Logger.Info("a retired journal is empty", "journal", string(s.Journal), "node", s.Node)
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.begun, string(s.Journal))
	for _, seen := range []map[index.Position]bool{e.again, e.told} {
		maps.DeleteFunc(seen, func(at index.Position, _ bool) bool { return at.Journal == s.Journal })
	}
	return nil
}

func (e *Evacuator) note(id index.JournalID, m *move, err error) {
	if m.moved > 0 {
		e.o.Logger.Info("what lay in a retired journal lies here now", "journal", string(id), "instances", m.moved)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.begun[string(id)]
	l.Moved += m.moved
	l.Elsewhere, l.Err = m.elsewhere, err
	e.begun[string(id)] = l
}

// again is an entry that was appended again.
type again struct {
	from    index.Position
	pending *journal.Pending
}

// move is one pass over one copy.
type move struct {
	*Evacuator
	from      *journal.Copy
	waiting   []again
	moved     int
	elsewhere int
	unsound   int
}

// all receives again what lies in the journal by the index, and what is past
// what the index has of it.
func (m *move) all(ctx context.Context, s index.JournalState, unread []index.Position) error {
	for in, err := range m.o.Index.Lying(ctx, s.Journal) {
		if err != nil {
			return err
		}
		e, err := m.from.Header(ctx, journalPosition(in.At))
		if errors.Is(err, storage.ErrNotFound) {
			m.elsewhere++
			continue
		}
		if err == nil {
			err = m.receive(ctx, e)
		}
		if err := m.passOver(in.At, err); err != nil {
			return err
		}
	}
	// What the index has not from up to the watermark was archived, deleted, or
	// passed over.
	for _, at := range unread {
		if _, err := m.reread(ctx, at); err != nil {
			return err
		}
	}
	return m.from.Replay(ctx, journalPosition(s.Applied), func(e journal.Entry) error {
		_, err := m.unknown(ctx, e)
		return m.passOver(indexPosition(s.Journal, e.Position), err)
	})
}

// unknown receives again an entry that the index has nowhere; known tells that
// it has, or had until it was deleted.
func (m *move) unknown(ctx context.Context, e journal.Entry) (known bool, err error) {
	r, err := readRecord(ctx, m.from, e)
	if err != nil {
		return false, err
	}
	key := r.Instance.Key
	gone, err := m.o.Index.DeletedAt(ctx, key.StudyInstanceUID, key.SeriesInstanceUID, indexPosition(index.JournalID(m.from.ID()), e.Position))
	if err != nil || gone {
		return gone, err
	}
	has, err := m.o.Index.Has(ctx, r.indexed("", journal.Position{}))
	if err != nil || has == index.StandingDuplicate {
		return err == nil, err
	}
	return false, m.receive(ctx, e)
}

// passOver leaves out what is damaged: another copy may have it. It is logged
// once, however often it is met.
func (m *move) passOver(at index.Position, err error) error {
	if !damaged(err) {
		return err
	}
	m.unsound++
	if !m.told[at] {
		m.told[at] = true
		m.o.Logger.Error("an instance in the copy of another node's journal is damaged", "journal", string(at.Journal), "position", journalPosition(at).String(), "error", err)
	}
	return nil
}

// receive appends an entry to this node's journal, once.
func (m *move) receive(ctx context.Context, e journal.Entry) error {
	from := indexPosition(index.JournalID(m.from.ID()), e.Position)
	if m.again[from] {
		return nil
	}
	r, err := readRecord(ctx, m.from, e)
	if err != nil {
		return err
	}
	r.From = append(r.From[max(0, len(r.From)-fromMost):], from)
	header, err := r.encode()
	if err != nil {
		return err
	}
	r.Metadata, r.Layout = nil, nil // the header has them
	body, err := m.from.Read(ctx, e.Position, storage.Range{Length: e.Size})
	if err != nil {
		return err
	}
	defer body.Close()
	a := m.o.Journal.NewAppend(ctx)
	defer a.Abort() // nothing after Commit
	sum := crc32.NewIEEE()
	if _, err := io.Copy(io.MultiWriter(a, sum), struct{ io.Reader }{body}); err != nil {
		return err
	}
	if sum.Sum32() != r.Instance.CRC32 || e.Size != r.Instance.Size {
		return fmt.Errorf("%w: the bytes of instance %s are not those that were acknowledged", storage.ErrCorrupt, r.Instance.Key.SOPInstanceUID)
	}
	p, err := a.Commit(nil, header, r)
	if err != nil {
		return err
	}
	m.moved++
	if m.waiting = append(m.waiting, again{from, p}); len(m.waiting) == evacuateWindow {
		return m.settle(ctx)
	}
	return nil
}

// settle waits until what was appended is safe.
func (m *move) settle(ctx context.Context) error {
	var failed error
	for _, a := range m.waiting {
		e, err := a.pending.Wait(ctx)
		if err == nil && m.o.Copies != nil {
			err = m.o.Copies.Await(ctx, e.Position)
		}
		m.again[a.from] = err == nil // what lacks its copies is received again, and the index moves one of them
		if failed == nil {
			failed = err
		}
	}
	m.waiting = nil
	return failed
}
