package copies

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// KeeperOptions say where a Keeper keeps copies of this node's journal.
type KeeperOptions struct {
	// Node is this node.
	Node string
	// Others lists the nodes that may hold a copy: all members but this one.
	Others func() []string
	// Copies is how many of them must have an instance before it is
	// acknowledged. 0 lets everything pass.
	Copies func() int
	// Dial reaches a node for the copy protocol.
	Dial func(ctx context.Context, node string) (net.Conn, error)
	// Held is given what lies on as many nodes as it must, in the order of the
	// journal, before Await returns for it: what Options.Durable is for a
	// journal without copies.
	Held func([]journal.Entry)
	// Retired is called when another node says that this node's journal takes
	// nothing any more.
	Retired func()
	// Known returns when all that the cluster knows of the journal is in it, or
	// fails. Before, nothing is held, and no node is sent anything: to what it
	// has of a journal whose disk was put back, that would do harm. Nil: it is
	// known.
	Known func(ctx context.Context) error
	// Older is called when another node has of the journal what is not here.
	Older func()
	// AheadBytes is from how many bytes on a large file goes ahead of its
	// record; 0 means 8 MiB.
	AheadBytes int64
	Timing     Timing
	Logger     *slog.Logger
}

// Keeper keeps copies of this node's journal on other nodes: on the next ones
// in the ring of names that answer. Attach and Run must be called.
type Keeper struct {
	o       KeeperOptions
	journal *journal.Journal
	id      [16]byte
	kick    chan struct{} // capacity 1: look at the targets now
	ahead   chan struct{} // slots of Ahead

	giving sync.Mutex // held while Held is called, for the order

	mu       sync.Mutex
	unknown  bool             // Known has not returned
	queue    []journal.Entry  // durable here, and not held by enough
	since    []time.Time      // when each of the queue came to it
	frontier journal.Position // all up to here are held
	advanced chan struct{}    // closed and replaced when frontier or short changes
	targets  map[string]*target
	failed   map[string]time.Time // when a node failed last
	has      map[string]map[uint64]journal.Extent
	fresh    uint64                      // segments from this one on were begun since Attach; set by that
	sent     map[string]map[uint64]int64 // up to where nodes were sent of those
	short    time.Time                   // since when there are too few live targets; zero: there are enough
	moved    time.Time                   // when a target last took something in
	damaged  map[uint64]bool             // segments that cannot be copied
	filled   uint64                      // bytes sent to fill in
	switches uint64
}

// queueMost bounds the entries that wait with what the indexer needs of them;
// of those beyond it only the position is kept.
const queueMost = 10_000

// NewKeeper returns a Keeper, which copies what is attached to it while Run
// runs.
func NewKeeper(o KeeperOptions) *Keeper {
	o.Timing = o.Timing.withDefaults()
	if o.AheadBytes <= 0 {
		o.AheadBytes = aheadBytes
	}
	return &Keeper{
		o: o, kick: make(chan struct{}, 1), ahead: make(chan struct{}, aheadMost), advanced: make(chan struct{}),
		targets: map[string]*target{}, failed: map[string]time.Time{}, has: map[string]map[uint64]journal.Extent{},
		short: time.Now(), damaged: map[uint64]bool{}, sent: map[string]map[uint64]int64{}, unknown: o.Known != nil,
	}
}

// Attach tells which journal is copied, and up to where its entries were held
// once: those after it are not given to Held before they are.
func (k *Keeper) Attach(j *journal.Journal, held journal.Position) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	h, err := newHello(j.ID())
	if err != nil {
		return err
	}
	k.journal, k.id, k.frontier = j, h.journal, held
	for _, s := range j.Segments() {
		if k.fresh = s.Number; s.Sealed || s.Entries > 0 {
			k.fresh++
		}
		k.damaged[s.Number] = s.Damaged
		if s.Last.Compare(held) > 0 {
			k.queue = append(k.queue, journal.Entry{Position: s.Last})
			k.since = append(k.since, time.Now())
		}
	}
	return nil
}

// Durable takes what is durable here: it is the journal's Options.Durable.
func (k *Keeper) Durable(entries []journal.Entry) {
	now := time.Now()
	k.mu.Lock()
	for _, e := range entries {
		if len(k.queue) >= queueMost {
			e = journal.Entry{Position: e.Position}
		}
		k.queue = append(k.queue, e)
		k.since = append(k.since, now)
	}
	k.mu.Unlock()
	k.advance()
}

// advance gives on what is held by enough.
func (k *Keeper) advance() {
	k.giving.Lock()
	defer k.giving.Unlock()
	k.mu.Lock()
	want := k.o.Copies()
	n := 0
	for !k.unknown && n < len(k.queue) && k.held(k.queue[n].Position, want) {
		n++
	}
	held := k.queue[:n:n]
	k.queue, k.since = k.queue[n:], k.since[n:]
	if len(k.queue) == 0 {
		k.queue, k.since = nil, nil
	}
	k.mu.Unlock()
	if n == 0 {
		return
	}
	k.o.Held(held)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.frontier = held[n-1].Position
	k.wake()
}

// wake lets those who wait look again; mu is held.
func (k *Keeper) wake() {
	close(k.advanced)
	k.advanced = make(chan struct{})
}

// held tells whether so many other nodes have an entry, or it cannot be
// copied; mu is held.
func (k *Keeper) held(at journal.Position, want int) bool {
	n := 0
	for _, has := range k.has {
		if has[at.Segment].End > at.Offset {
			n++
		}
	}
	return n >= want || k.damaged[at.Segment]
}

// Holders are the other nodes that have an entry, in the order of their names.
func (k *Keeper) Holders(at journal.Position) []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var nodes []string
	for node, has := range k.has {
		if has[at.Segment].End > at.Offset {
			nodes = append(nodes, node)
		}
	}
	slices.Sort(nodes)
	return nodes
}

// Await returns when the entry at a position, and all before it, lie on as
// many nodes as they must; for as long as another node takes in what comes
// before it, however much that is. While there are too few it fails with
// storage.ErrUnavailable, after Grace, and while none takes anything in after
// Stall and Grace: the entry is kept all the same, and may be held yet.
func (k *Keeper) Await(ctx context.Context, at journal.Position) error {
	start := time.Now()
	for {
		k.mu.Lock()
		done, advanced, left := !k.unknown && at.Compare(k.frontier) <= 0, k.advanced, k.patience()
		enough := k.short.IsZero()
		if behind := start; enough {
			if k.moved.After(behind) {
				behind = k.moved
			}
			left -= time.Since(behind)
		}
		k.mu.Unlock()
		switch {
		case done:
			return nil
		case left <= 0 && enough:
			return fmt.Errorf("%w: the copies of the journal are behind", storage.ErrUnavailable)
		case left <= 0:
			return k.tooFew()
		}
		look := time.NewTimer(left)
		select {
		case <-ctx.Done():
			look.Stop()
			return ctx.Err()
		case <-advanced:
		case <-look.C:
		}
		look.Stop()
	}
}

// patience is how long what is not held may still wait, if nothing moves; mu is
// held.
func (k *Keeper) patience() time.Duration {
	if k.short.IsZero() {
		return k.o.Timing.Grace + k.o.Timing.Stall
	}
	return k.o.Timing.Grace - time.Since(k.short)
}

// Failing tells why nothing can be acknowledged now, or nil. The error wraps
// storage.ErrUnavailable.
func (k *Keeper) Failing() error {
	k.mu.Lock()
	unknown, fine := k.unknown, k.patience() > 0 || k.o.Copies() == 0
	k.mu.Unlock()
	switch {
	case unknown:
		return fmt.Errorf("%w: the cluster has not said yet up to where it knows this node's journal", storage.ErrUnavailable)
	case fine:
		return nil
	}
	return k.tooFew()
}

func (k *Keeper) tooFew() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return fmt.Errorf("%w: too few nodes take copies of the journal: %d of %d", storage.ErrUnavailable, k.liveTargets(), k.o.Copies())
}

// Run keeps copies until ctx ends, whose error it returns, or Known fails. Every
// conversation has ended when it returns.
func (k *Keeper) Run(ctx context.Context) error {
	if k.o.Known != nil {
		if err := k.o.Known(ctx); err != nil {
			return err
		}
		k.mu.Lock()
		k.unknown, k.short = false, time.Now()
		k.wake()
		k.mu.Unlock()
	}
	tick := time.NewTicker(k.o.Timing.Beat)
	defer tick.Stop()
	for {
		k.manage(ctx)
		select {
		case <-ctx.Done():
			k.stop()
			return ctx.Err()
		case <-tick.C:
		case <-k.kick:
		}
	}
}

func (k *Keeper) stop() {
	k.mu.Lock()
	var all []*target
	for _, t := range k.targets {
		t.cancel()
		all = append(all, t)
	}
	k.mu.Unlock()
	for _, t := range all {
		<-t.ended
	}
}
