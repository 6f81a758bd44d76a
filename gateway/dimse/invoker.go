package dimse

import (
	"context"
	"sync"
	"time"
)

// invoker numbers the operations that are invoked from this side of an
// association, bounds how many are in flight, and hands each response to who
// waits for it.
type invoker struct {
	window chan struct{} // holds a token for each operation in flight

	mu      sync.Mutex
	waiting map[uint16]chan command // by message id
	lastID  uint16
}

func newInvoker(window int) *invoker {
	return &invoker{window: make(chan struct{}, max(window, 1)), waiting: map[uint16]chan command{}}
}

// begin takes a place in the window and a message id. It is ErrClosed when the
// association ends first.
func (i *invoker) begin(ctx context.Context, ended <-chan struct{}) (id uint16, answer chan command, err error) {
	select {
	case i.window <- struct{}{}:
	case <-ctx.Done():
		return 0, nil, ctx.Err()
	case <-ended:
		return 0, nil, ErrClosed
	}
	answer = make(chan command, 1)
	i.mu.Lock()
	defer i.mu.Unlock()
	for {
		i.lastID++
		if _, taken := i.waiting[i.lastID]; !taken {
			i.waiting[i.lastID] = answer
			return i.lastID, answer, nil
		}
	}
}

// deliver hands a response to who waits for it.
func (i *invoker) deliver(response command) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	id := response.MessageIDBeingRespondedTo
	answer, ok := i.waiting[id]
	if !ok {
		return misused("a response to message %d, which was not sent", id)
	}
	delete(i.waiting, id)
	answer <- response // it has room for one
	<-i.window
	return nil
}

// await waits for the response: ErrClosed when the association ends first, and
// ErrIdle when the peer takes longer than it may. In either case, and when ctx
// ends, the operation keeps its place in the window until the peer answers it.
func await(ctx context.Context, answer chan command, ended <-chan struct{}, within time.Duration) (command, error) {
	timeout := time.NewTimer(within)
	defer timeout.Stop()
	select {
	case c := <-answer:
		return c, nil
	case <-ended:
		select {
		case c := <-answer: // it came just before the end
			return c, nil
		default:
			return command{}, ErrClosed
		}
	case <-ctx.Done():
		return command{}, ctx.Err()
	case <-timeout.C:
		return command{}, ErrIdle
	}
}
