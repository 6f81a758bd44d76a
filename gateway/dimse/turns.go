package dimse

import (
	"context"
	"sync"
)

// turns are the places of retrievals that send. They are taken in the order of
// coming, and one host is sent to in three quarters of them at most: one that is
// slow does not keep all others waiting.
type turns struct {
	all    chan struct{} // holds a token for each that is taken
	ofHost int           // the most to one host

	mu    sync.Mutex
	hosts map[string]*hostTurns // of which any is taken or awaited
}

// hostTurns are those of one host.
type hostTurns struct {
	taken chan struct{}
	users int // who have one or wait for one
}

func newTurns(most int) *turns {
	return &turns{all: make(chan struct{}, most), ofHost: max(1, most*3/4), hosts: map[string]*hostTurns{}}
}

// take waits for a place until ctx ends, which is an error. It is held until
// leave is called, once.
func (t *turns) take(ctx context.Context, host string) (leave func(), err error) {
	own := t.use(host)
	for _, places := range []chan struct{}{own.taken, t.all} {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			if places == t.all {
				<-own.taken
			}
			t.unuse(host)
			return nil, ctx.Err()
		}
	}
	return func() {
		<-t.all
		<-own.taken
		t.unuse(host)
	}, nil
}

func (t *turns) use(host string) *hostTurns {
	t.mu.Lock()
	defer t.mu.Unlock()
	own := t.hosts[host]
	if own == nil {
		own = &hostTurns{taken: make(chan struct{}, t.ofHost)}
		t.hosts[host] = own
	}
	own.users++
	return own
}

func (t *turns) unuse(host string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hosts[host].users--; t.hosts[host].users == 0 {
		delete(t.hosts, host)
	}
}
