package rpc

import (
	"net/http"
	"sync"

	"github.com/esante-alsace/cigogne/gateway/throttle"
)

// bounds hold callers to Limits: rates are of all that a caller asks, slots of
// requests that do not stream, and of each method that does.
type bounds struct {
	limits   Limits
	rates    *throttle.Rates
	requests *throttle.Slots

	mu      sync.Mutex
	streams map[string]*throttle.Slots // by method
}

func newBounds(l Limits) *bounds {
	return &bounds{
		limits: l, rates: throttle.NewRates(l.Rate, l.Burst), requests: throttle.NewSlots(l.MaxRequests, l.MaxCallerRequests),
		streams: map[string]*throttle.Slots{},
	}
}

// admit lets a request through, or fails with throttle.ErrBusy or ErrTooMany.
// What it returns ends the request and must be called.
func (b *bounds) admit(who caller, method string, stream bool) (done func(), err error) {
	host := throttle.Caller(who.RemoteAddr)
	if err := b.rates.Take(host); err != nil {
		return nil, err
	}
	if stream {
		return b.of(method).Take(host)
	}
	return b.requests.Take(host)
}

// of are the slots of a method that streams. Methods are those that there are.
func (b *bounds) of(method string) *throttle.Slots {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, ok := b.streams[method]
	if !ok {
		s = throttle.NewSlots(b.limits.MaxStreams, b.limits.MaxCallerStreams)
		b.streams[method] = s
	}
	return s
}

// bounded holds what is no method, such as the page, to the bounds of requests.
func (s *Server) bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		done, err := s.bounds.admit(callerOf(r.Context()), r.URL.Path, false)
		if err != nil {
			w.Header().Set("Retry-After", "1")
			http.Error(w, err.Error(), http.StatusTooManyRequests)
			return
		}
		defer done()
		next.ServeHTTP(w, r)
	})
}

// Requests is how many are worked on, streams not counted, and how many may
// be.
func (s *Server) Requests() (now, most int) { return s.bounds.requests.Used() }
