package rpc

import (
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// rememberedHosts bounds the callers whose rate is counted; who is forgotten
// begins with a full bucket again.
const rememberedHosts = 4096

// throttle bounds rates by a token bucket for each caller, and how much is
// done at a time, in all and of each caller.
type throttle struct {
	limits Limits
	now    func() time.Time

	mu       sync.Mutex
	buckets  *simplelru.LRU[string, *bucket]
	requests int
	streams  map[string]int    // by method
	own      map[[2]string]int // by method and caller
}

type bucket struct {
	tokens float64
	at     time.Time
}

func newThrottle(l Limits) *throttle {
	buckets, _ := simplelru.NewLRU[string, *bucket](rememberedHosts, nil) // fails only for a size below 1
	return &throttle{limits: l, now: time.Now, buckets: buckets, streams: map[string]int{}, own: map[[2]string]int{}}
}

// admit lets a request through, or fails with errBusy. What it returns ends
// the request and must be called.
func (t *throttle) admit(who caller, method string, stream bool) (done func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.take(who.host()) {
		return nil, fmt.Errorf("%w: more than %d requests a second from %s", errBusy, t.limits.Rate, who.host())
	}
	if !stream {
		return t.request()
	}
	key := [2]string{method, who.host()}
	switch {
	case t.own[key] >= t.limits.MaxCallerStreams:
		return nil, fmt.Errorf("%w: %s has %d streams of this kind", errBusy, who.host(), t.own[key])
	case t.streams[method] >= t.limits.MaxStreams:
		return nil, fmt.Errorf("%w: there are %d streams of this kind", errBusy, t.streams[method])
	}
	t.own[key]++
	t.streams[method]++
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.streams[method]--
		if t.own[key]--; t.own[key] == 0 {
			delete(t.own, key)
		}
	}, nil
}

func (t *throttle) request() (func(), error) {
	if t.requests >= t.limits.MaxRequests {
		return nil, fmt.Errorf("%w: there are %d requests at a time", errBusy, t.requests)
	}
	t.requests++
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.requests--
	}, nil
}

// Requests is how many are worked on, streams not counted, and how many may
// be.
func (s *Server) Requests() (now, most int) {
	s.throttle.mu.Lock()
	defer s.throttle.mu.Unlock()
	return s.throttle.requests, s.throttle.limits.MaxRequests
}

// take takes a token of the host's, if there is one; mu is held.
func (t *throttle) take(host string) bool {
	now := t.now()
	b, ok := t.buckets.Get(host)
	if !ok {
		b = &bucket{tokens: float64(t.limits.Burst), at: now}
		t.buckets.Add(host, b)
	}
	b.tokens = min(float64(t.limits.Burst), b.tokens+now.Sub(b.at).Seconds()*float64(t.limits.Rate))
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
