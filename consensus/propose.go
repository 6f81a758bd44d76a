package consensus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

const (
	// proposeTimeout is how long a proposal is tried, through elections too.
	proposeTimeout = 10 * time.Second
	// againLeast and againMost bound the wait before it is tried again.
	againLeast = 10 * time.Millisecond
	againMost  = 200 * time.Millisecond
)

// Propose brings a batch into the index of every node, through whichever node
// leads. When it returns nil the batch is committed, and applied here. What
// can never be applied is storage.ErrInvalid. After storage.ErrUnavailable and
// storage.ErrFull it may be applied, or be yet: a batch may be proposed again.
func (n *Node) Propose(ctx context.Context, b index.Batch) error {
	entry, err := encodeEntry(b)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	for wait := againLeast; ; wait = min(2*wait, againMost) {
		elected := n.elected.next()
		at, err := n.propose(ctx, entry)
		if err == nil {
			return n.machine.await(ctx, at)
		}
		if ctx.Err() != nil || !errors.Is(err, storage.ErrUnavailable) {
			return err
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

// propose brings the entry to the leader once, and returns its place.
func (n *Node) propose(ctx context.Context, entry []byte) (uint64, error) {
	if n.raft.State() == raft.Leader {
		return n.append(ctx, entry)
	}
	return n.forward(ctx, entry)
}

// append commits the entry as the leader, and returns its place once the index
// has it.
func (n *Node) append(ctx context.Context, entry []byte) (uint64, error) {
	timeout := ioTimeout
	if d, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(d))
	}
	var f raft.ApplyFuture
	err := n.ask(ctx, func() error {
		f = n.raft.ApplyLog(summed(entry), max(timeout, time.Millisecond))
		return f.Error()
	})
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return 0, fmt.Errorf("%w: the cluster did not commit in time: %w", storage.ErrUnavailable, errors.Join(err, n.machine.unsound()))
	default:
		return 0, fmt.Errorf("%w: raft: %w", storage.ErrUnavailable, err)
	}
	if err, ok := f.Response().(error); ok {
		return 0, err
	}
	return f.Index(), nil
}
