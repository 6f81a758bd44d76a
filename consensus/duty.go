package consensus

import (
	"context"
	"errors"
	"time"
)

// WhileLeading runs the job whenever this node leads, and ends it when it does
// not any more: what one node at a time should do. Two may for a moment, when
// the lead moves. It returns when ctx ends, or the job's own error.
func (n *Node) WhileLeading(ctx context.Context, job func(ctx context.Context) error) error {
	for {
		elected := n.elected.next()
		if n.Leads() {
			if err := n.whileLeading(ctx, job); err != nil {
				return err
			}
		}
		t := time.NewTimer(n.o.Timing.Look)
		select {
		case <-ctx.Done():
		case <-elected:
		case <-t.C:
		}
		t.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// whileLeading runs the job once, until the lead is lost.
func (n *Node) whileLeading(ctx context.Context, job func(ctx context.Context) error) error {
	jctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- job(jctx) }()
	look := time.NewTicker(n.o.Timing.Look)
	defer look.Stop()
	for n.Leads() {
		select {
		case err := <-done:
			if jctx.Err() == nil {
				return err
			}
			return ctx.Err()
		case <-look.C:
		case <-n.elected.next():
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) && err != nil {
		n.log.Warn("what the leader did did not end well when the lead was lost", "error", err)
	}
	return ctx.Err()
}

// Sound returns when the index here is the log's: at once, but for one that
// was lost and has to be fetched.
func (n *Node) Sound(ctx context.Context) error {
	for {
		n.machine.mu.Lock()
		sound, moved := n.machine.applied >= n.machine.least, n.machine.moved
		n.machine.mu.Unlock()
		if sound {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-moved:
		}
	}
}
