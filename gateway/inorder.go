package gateway

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/esante-alsace/cigogne/storage"
)

// worthAhead is how long an instance took to be opened when another goroutine
// is worth its while for the next: to hand over to one and back takes a third.
const worthAhead = 50 * time.Microsecond

// aheadMost is how many are opened ahead at most, and aheadBytes how long they
// may be together when they are several: what was compared is to be sent soon.
const (
	aheadMost  = 4
	aheadBytes = 4 << 20
)

// InOrder returns the instances for somebody who is going to read all of each,
// one after the other in this order, until ctx ends: while one is on its way,
// those that follow are opened, that is found and compared, unless the one
// before was opened in no time. It costs readers that are not asked for when
// somebody stops between two.
func InOrder(ctx context.Context, found []Instance) []Instance {
	if len(found) < 3 { // the second is the first that can be known to be read after another
		return found
	}
	q := &queue{ctx: ctx, each: make([]ordered, len(found))}
	in := make([]Instance, len(found))
	for i := range found {
		q.each[i] = ordered{Instance: found[i], queue: q, at: i}
		in[i] = &q.each[i]
	}
	context.AfterFunc(ctx, q.end)
	return in
}

// queue are the instances of one reader, in their order.
type queue struct {
	ctx  context.Context //nolint:containedctx // the request's, with which all ends
	each []ordered
	all  sync.WaitGroup // of those that are being opened

	mu    sync.Mutex
	after int  // behind the one that was read last
	ended bool // nothing is opened any more
}

// ordered is one of them.
type ordered struct {
	Instance
	queue *queue
	at    int
	// ahead is where it comes, once, when it is opened ahead; then it is closed.
	ahead chan opened
}

// opened is what came of opening one.
type opened struct {
	body io.ReadCloser // nil when it was opened ahead in vain
	took time.Duration
}

func (o opened) close() {
	if o.body != nil {
		o.body.Close()
	}
}

// open opens all of it.
func (i *ordered) open(ctx context.Context) (opened, error) {
	began := time.Now()
	body, err := i.Instance.Open(ctx, i.whole())
	if err != nil {
		body = nil
	}
	return opened{body, time.Since(began)}, err
}

// Open implements Instance.
func (i *ordered) Open(ctx context.Context, r storage.Range) (io.ReadCloser, error) {
	if r != i.whole() {
		return i.Instance.Open(ctx, r)
	}
	found, err := i.queue.take(ctx, i)
	if found.body == nil && err == nil {
		found, err = i.open(ctx) // also when it was tried in vain
	}
	if err != nil {
		return nil, err
	}
	i.queue.went(i.at, found.took)
	return found.body, nil
}

func (i *ordered) whole() storage.Range { return storage.Range{Length: i.About().Size} }

// near tells whether it does not come in one read with others, which must not
// be opened at the same time.
func (i *ordered) near() bool {
	p, ok := i.Instance.(*packed)
	return !ok || p.details.run == nil
}

// take returns what was opened ahead, or nothing. What somebody waits for in vain
// is still there for end, which may be over before he has noticed.
func (q *queue) take(ctx context.Context, i *ordered) (opened, error) {
	q.mu.Lock()
	ahead := i.ahead
	q.mu.Unlock()
	if ahead == nil {
		return opened{}, nil
	}
	select {
	case found := <-ahead:
		q.mu.Lock()
		defer q.mu.Unlock()
		if i.ahead == ahead {
			i.ahead = nil
		}
		return found, nil
	case <-ctx.Done():
		return opened{}, ctx.Err()
	}
}

// went opens those that follow, if that which was opened followed another and
// took its time.
func (q *queue) went(at int, took time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	follows := at > 0 && at == q.after
	q.pass(at)
	q.after = at + 1
	if !follows || took < worthAhead || q.ended {
		return
	}
	if next := q.next(); len(next) > 0 {
		q.all.Go(func() {
			for _, i := range next {
				found, _ := i.open(q.ctx) // who comes for it tries again
				i.to <- found
				close(i.to)
			}
		})
	}
}

// pass closes what was opened ahead and is not ahead of this one, because some
// were left out: of a long list those would be many by the end. mu is held.
func (q *queue) pass(at int) {
	for i := q.after; !q.ended && i < min(q.after+aheadMost, len(q.each)); i++ {
		ahead := q.each[i].ahead
		if ahead == nil || at < i && i <= at+aheadMost {
			continue
		}
		q.each[i].ahead = nil
		q.all.Go(func() { (<-ahead).close() })
	}
}

// coming is one that is opened ahead, and where it is handed over.
type coming struct {
	*ordered
	to chan<- opened
}

// next are those to open now, one after the other: none while half of what may
// be ahead is, as each time another goroutine has to be woken. mu is held.
func (q *queue) next() (next []coming) {
	if half := q.after + aheadMost/2; half < len(q.each) && q.each[half].ahead != nil {
		return nil
	}
	var bytes int64
	for at := q.after; at < min(q.after+aheadMost, len(q.each)); at++ {
		i := &q.each[at]
		if bytes += i.About().Size; at > q.after && bytes > aheadBytes || !i.near() {
			break
		}
		if i.ahead == nil {
			ahead := make(chan opened, 1)
			i.ahead = ahead
			next = append(next, coming{i, ahead})
		}
	}
	return next
}

// end closes what was opened ahead and not taken.
func (q *queue) end() {
	q.mu.Lock()
	q.ended = true
	q.mu.Unlock()
	q.all.Wait()
	for i := range q.each {
		q.mu.Lock()
		ahead := q.each[i].ahead
		q.mu.Unlock()
		if ahead != nil {
			(<-ahead).close()
		}
	}
}
