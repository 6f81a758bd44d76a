package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/esante-alsace/cigogne/storage"
)

// ReadThrough lets reads see what others brought into the index, too: fresh
// returns when it has that, or nearly while nobody can say what that is; strong
// fails then. It must be called before anything is read.
func (x *Indexer) ReadThrough(fresh, strong func(context.Context) error) {
	x.fresh, x.strong = fresh, strong
}

// ownPatience is how long a read waits for what this node has yet to bring
// into the index of a cluster, which may be about to elect a leader.
const ownPatience = 3 * time.Second

// Await returns when a read may begin: when AwaitOwn does, and the index has
// what others brought into it. Errors are those of AwaitOwn and of fresh.
func (x *Indexer) Await(ctx context.Context) error { return x.through(ctx, x.fresh) }

func (x *Indexer) through(ctx context.Context, others func(context.Context) error) error {
	if others == nil {
		return x.AwaitOwn(ctx)
	}
	bounded, cancel := context.WithTimeout(ctx, ownPatience)
	defer cancel()
	own := x.AwaitOwn(bounded)
	if own != nil && !behind(own) {
		own = &behindError{own}
	}
	if err := errors.Join(ctx.Err(), others(ctx)); err != nil {
		return err
	}
	return own
}

// see is Await for who does with what the index has while it takes nothing: what
// is told to a person is not to be of a moment that others have left behind.
func (x *Indexer) see(ctx context.Context) error { return unlessBehind(x.through(ctx, x.fresh)) }

// surely is see for a decision that nothing is to be changed: it is one like any
// other, and cannot be taken while nobody can say what others decided.
func (x *Indexer) surely(ctx context.Context) error { return unlessBehind(x.through(ctx, x.strong)) }

func unlessBehind(err error) error {
	if behind(err) {
		return nil
	}
	return err
}

// AwaitOwn returns when the index has all that was durable at the call, so
// that a sender finds what it was told is safe. It fails with
// storage.ErrUnavailable when ctx ends first, and at once while the index
// takes nothing: with that error, see behind, reading can go on with what the
// index has.
func (x *Indexer) AwaitOwn(ctx context.Context) error {
	x.mu.Lock()
	until := x.durable
	x.mu.Unlock()
	for {
		x.mu.Lock()
		done, advanced, failing := until.Compare(x.indexed) <= 0, x.advanced, x.failing
		x.mu.Unlock()
		if done {
			return nil
		}
		if failing != nil {
			return &behindError{failing}
		}
		signal(x.hurry)
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: index is behind the journal: %w", storage.ErrUnavailable, ctx.Err())
		case <-advanced:
		}
	}
}

// behindError: the index takes nothing now, and the journal holds what it does
// not have. Its cause is the node's matter, not the asker's: only the text is
// handed on.
type behindError struct{ cause error }

func (e *behindError) Error() string {
	return fmt.Sprintf("%v: index is behind the journal: %v", storage.ErrUnavailable, e.cause)
}

func (e *behindError) Unwrap() error { return storage.ErrUnavailable }

// behind tells that Await failed because the index takes nothing, on a full
// disk for one. What the index has can be read all the same.
func behind(err error) bool {
	var b *behindError
	return errors.As(err, &b)
}
