package rpc

import (
	"context"
	"errors"
	"sync"

	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
	"github.com/esante-alsace/cigogne/storage"
)

// tailEvents bounds the events that are held for all watchers together, some
// 500 bytes each.
const tailEvents = 4096

// tail holds the newest events, so that many watchers cost the index one read.
// What it holds is not changed any more.
type tail struct {
	history Historian

	mu   sync.Mutex
	list []*pb.Event     // without gaps
	more <-chan struct{} // closed when there may be more than the list has
}

// after lists at most limit events after the one numbered: see
// Historian.Events. When there are fewer, those are all there are as long as
// more is not closed.
func (t *tail) after(ctx context.Context, after int64, limit int) (list []*pb.Event, more <-chan struct{}, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.refresh(ctx, after); err != nil {
		return nil, nil, err
	}
	n := len(t.list)
	if n == 0 || after < t.list[0].Sequence-1 || after > t.list[n-1].Sequence {
		// Who is far behind keeps others waiting for one read, some milliseconds.
		found, err := t.history.Events(ctx, after, limit)
		return eventsOf(found), t.more, err
	}
	from := int(after + 1 - t.list[0].Sequence)
	to := min(from+limit, n)
	return t.list[from:to:to], t.more, nil
}

// refresh lets the list go on as far as the index does, or watchEvents
// further; without one it begins after the event numbered. mu is held.
func (t *tail) refresh(ctx context.Context, after int64) error {
	select {
	case <-t.more:
	default:
		if t.more != nil {
			return nil
		}
	}
	if n := len(t.list); n > 0 {
		after = t.list[n-1].Sequence
	}
	more := t.history.Happened() // before the look: nothing comes between them unseen
	found, err := t.history.Events(ctx, after, watchEvents)
	if errors.Is(err, storage.ErrGone) && len(t.list) > 0 {
		t.list = nil // the feed has moved past all of it
		return nil
	}
	if err != nil {
		return err
	}
	t.list = append(t.list, eventsOf(found)...)
	if over := len(t.list) - tailEvents; over > tailEvents/4 {
		t.list = append([]*pb.Event(nil), t.list[over:]...) // so that the old ones can go
	}
	if len(found) < watchEvents {
		t.more = more
	}
	return nil
}
