package consensus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/esante-alsace/cigogne/storage"
)

// Consistency says what a read has to see.
type Consistency string

const (
	// Strong reads see all that was committed anywhere before they began.
	Strong Consistency = "strong"
	// Fresh reads are strong if the leader answers soon, and bounded if not.
	Fresh Consistency = "fresh"
	// Bounded reads ask nobody: they see all that was committed until
	// Options.MaxStaleness ago.
	Bounded Consistency = "bounded"
)

// Valid tells whether c is one of the constants.
func (c Consistency) Valid() bool { return c == Strong || c == Fresh || c == Bounded }

const (
	// freshPatience is how long a fresh read waits for the leader, and
	// strongPatience a strong one.
	freshPatience  = 2 * time.Second
	strongPatience = 5 * time.Second
)

// Reading is what a read sees.
type Reading struct {
	// Applied is the entry up to which it sees everything.
	Applied uint64
	// Consistency is Strong or Bounded.
	Consistency Consistency
	// Age is how long ago this node last heard of the leader, when Bounded.
	Age time.Duration
}

// Read returns when the index here has what the read must see, at least the
// entry. It fails with storage.ErrUnavailable when that takes too long.
func (n *Node) Read(ctx context.Context, c Consistency, least uint64) (Reading, error) {
	if least > 0 {
		if err := n.awaitBounded(ctx, least); err != nil {
			return Reading{}, err
		}
	}
	if c != Bounded {
		patience := freshPatience
		if c == Strong {
			patience = strongPatience
		}
		err := n.readIndexed(ctx, patience)
		if err == nil {
			return Reading{Applied: n.machine.position(), Consistency: Strong}, nil
		}
		if c == Strong || ctx.Err() != nil {
			return Reading{}, err
		}
	}
	return n.bounded()
}

func (n *Node) awaitBounded(ctx context.Context, least uint64) error {
	ctx, cancel := context.WithTimeout(ctx, strongPatience)
	defer cancel()
	return n.machine.await(ctx, least)
}

// bounded reads what there is, if it is recent enough.
func (n *Node) bounded() (Reading, error) {
	if err := n.machine.unsound(); err != nil {
		return Reading{}, err
	}
	r := Reading{Applied: n.machine.position(), Consistency: Bounded, Age: n.Age()}
	if r.Age == never {
		return Reading{}, fmt.Errorf("%w: this node has not heard of the cluster since it started", storage.ErrUnavailable)
	}
	if r.Age > n.o.MaxStaleness {
		return Reading{}, fmt.Errorf("%w: this node has not heard of the cluster for %s", storage.ErrUnavailable, r.Age.Round(time.Millisecond))
	}
	return r, nil
}

// never is the Age of a node that has not heard of a leader yet.
const never = 1<<63 - 1

// Age bounds how far the index here is behind the cluster, as far as this node
// can tell: the time since it heard of the leader, and that which the entry at
// hand has taken.
func (n *Node) Age() time.Duration {
	if n.Leads() {
		return n.machine.busy()
	}
	last := n.raft.LastContact()
	if last.IsZero() {
		return never
	}
	return time.Since(last) + n.machine.busy()
}

// readIndexed returns when the index here has all that was committed before
// the call.
func (n *Node) readIndexed(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	at, err := n.reads.join(ctx, n.begin, n.readIndex)
	if err != nil {
		return err
	}
	return n.machine.await(ctx, at)
}

// readIndex asks the leader what is committed, through elections, while the
// node is open.
func (n *Node) readIndex() (uint64, error) {
	ctx, cancel := context.WithTimeout(n.ctx, freshPatience)
	defer cancel()
	for wait := againLeast; ; wait = min(2*wait, againMost) {
		elected := n.elected.next()
		at, err := n.committed(ctx)
		if err == nil || ctx.Err() != nil {
			return at, err
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-elected:
		case <-t.C:
		}
		t.Stop()
	}
}

// committed is the last entry that was committed, asked of the leader.
func (n *Node) committed(ctx context.Context) (uint64, error) {
	if n.raft.State() == raft.Leader {
		return n.verified(ctx)
	}
	return n.askCommitted(ctx)
}

// verified is the last entry that is committed and changes the index, as the
// leader knows it. That it still leads is asked afterwards, so that no later
// leader can have committed any before. What the leader's own index has would
// not do: a follower may be ahead of it, and have shown that already.
func (n *Node) verified(ctx context.Context) (uint64, error) {
	if !n.Leads() {
		return 0, fmt.Errorf("%w: node %s does not lead yet", storage.ErrUnavailable, n.o.ID)
	}
	at, err := n.lastBatch(n.raft.CommitIndex())
	if err != nil {
		return 0, err
	}
	switch err := n.ask(ctx, func() error { return n.raft.VerifyLeader().Error() }); {
	case err == nil:
		return at, nil
	case ctx.Err() != nil:
		return 0, fmt.Errorf("%w: the other nodes do not answer the leader: %w", storage.ErrUnavailable, err)
	default:
		return 0, fmt.Errorf("%w: raft: %w", storage.ErrUnavailable, err)
	}
}

// lastBatch is the last entry up to one that is committed that changes the
// index: elections and members have entries, too, and no index waits for them.
func (n *Node) lastBatch(committed uint64) (uint64, error) {
	applied := n.machine.position()
	for at := committed; at > applied; at-- {
		if at == n.batch.Load() {
			return at, nil
		}
		var l raft.Log
		if err := n.wal.GetLog(at, &l); errors.Is(err, raft.ErrLogNotFound) {
			break // cut off: the index has it, or it is being fetched
		} else if err != nil {
			return 0, fmt.Errorf("%w: raft: log: %w", storage.ErrUnavailable, err)
		}
		if l.Type == raft.LogCommand {
			n.batch.Store(at)
			return at, nil
		}
	}
	return applied, n.machine.unsound()
}

// reads lets all who read at the same time ask once: who comes while a
// question is under way waits for the next one, which is asked for all of
// them.
type reads struct {
	mu        sync.Mutex
	now, next *round
}

// round is one question.
type round struct {
	done chan struct{}
	at   uint64
	err  error
}

// join takes part in the next round. run sets a function to work, and ask must
// end by itself.
func (r *reads) join(ctx context.Context, run func(func()) bool, ask func() (uint64, error)) (uint64, error) {
	r.mu.Lock()
	if r.next == nil {
		r.next = &round{done: make(chan struct{})}
	}
	mine := r.next
	if r.now == nil {
		r.now, r.next = mine, nil
		if !run(func() { r.rounds(ask) }) {
			mine.err = fmt.Errorf("%w: the node is closed", storage.ErrUnavailable)
			close(mine.done)
			r.now = nil
		}
	}
	r.mu.Unlock()
	select {
	case <-mine.done:
		return mine.at, mine.err
	case <-ctx.Done():
		return 0, fmt.Errorf("%w: the leader does not answer: %w", storage.ErrUnavailable, ctx.Err())
	}
}

// rounds asks until nobody waits.
func (r *reads) rounds(ask func() (uint64, error)) {
	for {
		at, err := ask()
		r.mu.Lock()
		r.now.at, r.now.err = at, err
		close(r.now.done)
		r.now, r.next = r.next, nil
		last := r.now == nil
		r.mu.Unlock()
		if last {
			return
		}
	}
}
