package rpc

import (
	"context"
	"sync"

	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
)

// tailEvents bounds the events that are held for all watchers together, some
// 500 bytes each.
const tailEvents = 4096

// tail holds the newest events, so that many watchers cost the index one read.
// What it holds is not changed any more.
type tail struct {
	history Historian

	mu   sync.Mutex
	list []*pb.Event // without gaps
}

// after lists at most limit events after the one numbered: see
// Historian.Events.
func (t *tail) after(ctx context.Context, after int64, limit int) ([]*pb.Event, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.list); n == 0 || after < t.list[0].Sequence-1 || after > t.list[n-1].Sequence {
		return t.read(ctx, after, limit) // an old one, or the first
	}
	if after == t.list[len(t.list)-1].Sequence {
		if _, err := t.read(ctx, after, limit); err != nil {
			return nil, err
		}
	}
	from := int(after + 1 - t.list[0].Sequence)
	if from < 0 { // what came was more than is held
		return t.read(ctx, after, limit)
	}
	to := min(from+limit, len(t.list))
	return t.list[from:to:to], nil
}

// read reads from the index, and holds what goes on where the list ends; mu is
// held. Who is far behind keeps others waiting for one read, some milliseconds.
func (t *tail) read(ctx context.Context, after int64, limit int) ([]*pb.Event, error) {
	found, err := t.history.Events(ctx, after, limit)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	list := eventsOf(found)
	switch n := len(t.list); {
	case n > 0 && t.list[n-1].Sequence == list[0].Sequence-1:
		t.list = append(t.list, list...)
	case n == 0 || list[len(list)-1].Sequence > t.list[n-1].Sequence:
		t.list = list
	}
	if over := len(t.list) - tailEvents; over > tailEvents/4 {
		t.list = append([]*pb.Event(nil), t.list[over:]...) // so that the old ones can go
	}
	return list, nil
}
