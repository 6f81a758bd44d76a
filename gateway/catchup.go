package gateway

import (
	"context"
	"errors"
	"fmt"

	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// catchUp indexes from the journal what is past the index, until the queue
// can be relied on again.
func (x *Indexer) catchUp(ctx context.Context) error {
	for {
		x.mu.Lock()
		from := x.indexed
		x.mu.Unlock()
		if err := x.replay(ctx, from); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			x.fail(err)
			if err := pause(ctx, retryMost); err != nil {
				return err
			}
			continue
		}
		x.mu.Lock()
		// What became durable during the replay was left out of the queue.
		done := x.durable.Compare(x.indexed) <= 0
		x.behind = !done
		x.mu.Unlock()
		if done {
			x.fail(nil)
			return nil
		}
	}
}

// errBehind ends a replay before what may not be indexed yet.
var errBehind = errors.New("not to be indexed yet")

func (x *Indexer) replay(ctx context.Context, from journal.Position) error {
	x.mu.Lock()
	until := x.durable // what lies behind may not have its copies yet
	x.mu.Unlock()
	var batch []index.Instance
	var unread []journal.Position
	var through journal.Position
	bytes := 0
	propose := func() error {
		err := x.propose(ctx, index.Batch{Received: batch, Journals: passedOver(x.id, unread)}, through, 0)
		batch, unread, bytes = nil, nil, 0
		return err
	}
	err := x.journal.Replay(ctx, from, func(e journal.Entry) error {
		if e.Position.Compare(until) > 0 {
			return errBehind
		}
		through = e.Position
		r, err := readRecord(ctx, x.journal, e)
		switch {
		case damaged(err): // fsck tells of it, too; it must not keep back what follows
			x.log.Error("an acknowledged instance is damaged in the journal and cannot be indexed: its segment is kept", "position", e.Position.String(), "error", err)
			unread = append(unread, e.Position)
		case err != nil:
			return fmt.Errorf("journal %s at %v: %w", x.id, e.Position, err)
		default:
			batch = append(batch, r.indexed(x.id, e.Position))
		}
		if bytes += len(e.Header); max(len(batch), len(unread)) < batchRows && bytes < queueBytes {
			return nil
		}
		return propose()
	})
	if errors.Is(err, errBehind) {
		err = nil
	}
	if err != nil || through == (journal.Position{}) {
		return err
	}
	return propose()
}
