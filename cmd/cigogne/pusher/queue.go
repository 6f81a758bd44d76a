package pusher

import (
	"context"
	"sync"
	"time"
)

// queue is what waits to be sent. Each item that is taken must be settled or
// put back: only then is the queue at its end.
type queue struct {
	mu      sync.Mutex
	items   []*item
	flying  int           // taken, not settled
	found   bool          // no more will be added
	changed chan struct{} // closed at each change
}

// mostWaiting bounds the items that wait.
const mostWaiting = 1024

func newQueue() *queue { return &queue{changed: make(chan struct{})} }

// change tells who waits. The lock is held.
func (q *queue) change() {
	close(q.changed)
	q.changed = make(chan struct{})
}

// add adds an item when there is room. It returns false when ctx ends.
func (q *queue) add(ctx context.Context, i *item) bool {
	for {
		q.mu.Lock()
		if len(q.items) < mostWaiting {
			q.items = append(q.items, i)
			q.change()
			q.mu.Unlock()
			return true
		}
		changed := q.changed
		q.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// end tells that all were added.
func (q *queue) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.found = true
	q.change()
}

// settle tells that n items need nothing more.
func (q *queue) settle(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.flying -= n
	q.change()
}

// putBack has items taken again, before others.
func (q *queue) putBack(items []*item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.flying -= len(items)
	q.items = append(append(make([]*item, 0, len(items)+len(q.items)), items...), q.items...)
	q.change()
}

// take returns an item, or nil when none comes in time or at all: when all is
// settled, when ctx ends, or, with only those that wait for nothing asked for,
// when all were found and none waits.
func (q *queue) take(ctx context.Context, atMost time.Duration) *item {
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	for {
		q.mu.Lock()
		if len(q.items) > 0 && ctx.Err() == nil {
			i := q.items[0]
			q.items[0] = nil
			q.items = q.items[1:]
			q.flying++
			q.change()
			q.mu.Unlock()
			return i
		}
		over := q.found && (q.flying == 0 || atMost < forever)
		changed := q.changed
		q.mu.Unlock()
		if over {
			return nil
		}
		select {
		case <-changed:
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// forever is longer than any push.
const forever = 1 << 62 * time.Nanosecond
