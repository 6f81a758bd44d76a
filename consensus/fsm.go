package consensus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// Index is what consensus keeps the same on every node: an *index.Index.
type Index interface {
	// Log tells which cluster's log it follows, and up to which entry.
	Log() (cluster string, applied uint64)
	// Follow makes what it holds the state before a cluster's first entry.
	Follow(ctx context.Context, cluster string) error
	// ApplyAt applies an entry, with its place in the same transaction. One
	// that can never be applied is storage.ErrInvalid, and passed.
	ApplyAt(ctx context.Context, at uint64, b index.Batch) (index.Applied, error)
	Sync(ctx context.Context) error
	CopyTo(ctx context.Context, path string) (applied uint64, err error)
	Replace(ctx context.Context, path string) error
}

const (
	// applyLeast and applyMost bound the wait before an entry that could not
	// be applied is tried again.
	applyLeast = 20 * time.Millisecond
	applyMost  = 2 * time.Second
)

// machine applies the log to the index. It decides nothing: an entry is
// applied, or was before, or is tried until it can be.
type machine struct {
	index Index
	log   *slog.Logger
	// fetch brings a copy of the index that has at least the entry, from
	// another node, and puts it in the place of this one.
	fetch func(ctx context.Context, least uint64) error
	// applies, when set, is told how long each entry took.
	applies func(took time.Duration)

	work sync.Mutex // held while the index is changed

	mu      sync.Mutex
	applied uint64        // the last entry that the index has
	least   uint64        // what the index must have before entries are applied to it
	since   time.Time     // when the entry that is being applied was begun
	failing error         // why it is not applied, or nil
	moved   chan struct{} // closed and replaced when one of these changes
}

func newMachine(x Index, log *slog.Logger) *machine {
	_, applied := x.Log()
	return &machine{index: x, log: log, applied: applied, moved: make(chan struct{})}
}

// apply applies the entry at a place of the log. It returns when that is done,
// or ctx has ended.
func (m *machine) apply(ctx context.Context, at uint64, entry []byte) (index.Applied, error) {
	m.work.Lock()
	defer m.work.Unlock()
	began := m.begin()
	defer m.done()
	for wait := applyLeast; ; wait = min(2*wait, applyMost) {
		a, err := m.try(ctx, at, entry)
		if err == nil || errors.Is(err, storage.ErrInvalid) {
			m.advance(at)
			if m.applies != nil && !a.Skipped {
				m.applies(time.Since(began))
			}
			return a, err
		}
		if ctx.Err() != nil {
			return a, ctx.Err()
		}
		m.fail(err)
		if err := pause(ctx, wait); err != nil {
			return a, err
		}
	}
}

// try applies the entry once, and heals the index when that is what it needs.
func (m *machine) try(ctx context.Context, at uint64, entry []byte) (index.Applied, error) {
	if err := m.heal(ctx); err != nil {
		return index.Applied{}, err
	}
	if m.position() >= at {
		return index.Applied{Skipped: true}, nil
	}
	b, err := decodeEntry(entry)
	if err != nil {
		return index.Applied{}, err
	}
	a, err := m.index.ApplyAt(ctx, at, b)
	if errors.Is(err, storage.ErrCorrupt) {
		m.log.Error("the index is damaged: it is fetched from another node", "error", err)
		m.mu.Lock()
		m.least, m.applied = max(m.least, m.applied, 1), 0
		m.mu.Unlock()
	}
	return a, err
}

// require makes the index one that has to be fetched, with at least an entry.
func (m *machine) require(least uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.least, m.applied = max(least, 1), 0
	m.broadcast()
}

// spoiled makes the index one that is fetched with an entry that is not as it was
// proposed: on this node's disk, or on that of who sent it.
func (m *machine) spoiled(at uint64) {
	if m.position() >= at {
		return
	}
	m.log.Error("an entry of the log is damaged: the index is fetched from another node, which has applied it", "entry", at)
	m.require(at)
}

// healthy heals the index when it has less than it must, until it has or ctx
// ends.
func (m *machine) healthy(ctx context.Context) error {
	for wait := applyLeast; ; wait = min(2*wait, applyMost) {
		m.work.Lock()
		err := m.heal(ctx)
		m.work.Unlock()
		if err == nil {
			return nil
		}
		m.fail(err)
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

// heal fetches the index if it has less than it must; work is held.
func (m *machine) heal(ctx context.Context) error {
	m.mu.Lock()
	least, applied := m.least, m.applied
	m.mu.Unlock()
	if applied >= least {
		return nil
	}
	if err := m.fetch(ctx, least); err != nil {
		return fmt.Errorf("%w: the index has to be fetched from another node: %w", storage.ErrUnavailable, err)
	}
	m.refresh()
	m.log.Info("the index was fetched from another node", "applied", m.position())
	return nil
}

// install puts a copy in the place of the index, unless the index is of the
// same log and has as much.
func (m *machine) install(ctx context.Context, path string) (content uint64, err error) {
	cluster, content, err := index.Peek(ctx, path)
	if err != nil {
		return 0, err
	}
	if own, applied := m.index.Log(); own == cluster && applied >= content && m.position() >= content {
		return content, nil
	}
	if err := m.index.Replace(ctx, path); err != nil {
		m.require(max(m.position(), content)) // what is here now may be anything
		return content, err
	}
	return content, nil
}

// refresh takes over what the index says of itself.
func (m *machine) refresh() {
	_, applied := m.index.Log()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.applied, m.failing = applied, nil
	m.broadcast()
}

func (m *machine) begin() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.since = time.Now()
	return m.since
}

func (m *machine) done() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.since = time.Time{}
}

func (m *machine) advance(at uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.applied, m.failing = max(m.applied, at), nil
	m.broadcast()
}

func (m *machine) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failing == nil {
		m.log.Error("the index does not take what the cluster decided, will try again", "error", err)
	}
	m.failing = err
	m.broadcast()
}

// broadcast lets those who wait look again; mu is held.
func (m *machine) broadcast() {
	close(m.moved)
	m.moved = make(chan struct{})
}

// position is the last entry that the index has.
func (m *machine) position() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.applied
}

// unsound tells why the index is not what the log says, or nil.
func (m *machine) unsound() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failing == nil && m.applied < m.least {
		return fmt.Errorf("%w: the index is being fetched from another node", storage.ErrUnavailable)
	}
	return m.failing
}

// busy is for how long the entry at hand has been applied.
func (m *machine) busy() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.since.IsZero() {
		return 0
	}
	return time.Since(m.since)
}

// await returns when the index has the entry. It fails with
// storage.ErrUnavailable when ctx ends first, and at once with the reason
// while the index takes nothing.
func (m *machine) await(ctx context.Context, at uint64) error {
	for {
		m.mu.Lock()
		applied, failing, moved := m.applied, m.failing, m.moved
		m.mu.Unlock()
		if applied >= at {
			return nil
		}
		if failing != nil {
			return failing
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: this node is behind the cluster (%d of %d): %w", storage.ErrUnavailable, applied, at, ctx.Err())
		case <-moved:
		}
	}
}

// fsm is the machine as raft calls it.
type fsm struct {
	*machine
	ctx context.Context // ends when the node closes
}

// Apply implements raft.FSM.
func (f fsm) Apply(l *raft.Log) any {
	if !intact(l) {
		f.spoiled(l.Index)
	}
	a, err := f.apply(f.ctx, l.Index, l.Data)
	if err != nil {
		return err
	}
	return a
}

// Snapshot implements raft.FSM: the index itself is the snapshot.
func (f fsm) Snapshot() (raft.FSMSnapshot, error) {
	// What was not applied because the node closes must not be in it.
	if err := errors.Join(f.ctx.Err(), f.unsound()); err != nil {
		return nil, err
	}
	return &snapshot{machine: f.machine, ctx: f.ctx, content: f.position()}, nil
}

// Restore implements raft.FSM. The store of snapshots has put the copy in its
// place already.
func (f fsm) Restore(from io.ReadCloser) error {
	defer from.Close()
	f.refresh()
	return nil
}

// snapshot is the index at an entry or later.
type snapshot struct {
	*machine
	ctx     context.Context
	content uint64
}

// Persist implements raft.FSMSnapshot: what the index has is made durable.
func (s *snapshot) Persist(to raft.SnapshotSink) error {
	own, ok := to.(*sink)
	if !ok {
		return errors.New("the snapshot is not for this store")
	}
	if err := s.index.Sync(s.ctx); err != nil {
		return err
	}
	own.meta.Content = s.content
	return to.Close()
}

// Release implements raft.FSMSnapshot.
func (s *snapshot) Release() {}

// pause waits for d, or fails with ctx's error when that ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
