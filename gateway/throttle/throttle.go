// Package throttle bounds what callers may ask for: how often, and how much at
// a time, all of them and one of them.
//
// A caller is a host. Whoever speaks through a proxy is one caller with all
// others who do.
package throttle

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// ErrBusy is all callers' bound, ErrTooMany one caller's. Asking again a second
// later may help.
var (
	ErrBusy    = errors.New("busy")
	ErrTooMany = errors.New("too many requests")
)

// Caller is who is at an address such as "192.0.2.1:4711": a host, and of IPv6
// the network of 64 bits, of which a host has every address it wants.
func Caller(remoteAddr string) string {
	host, _, err := net.SplitHostPort(remoteAddr)
	if err != nil {
		return remoteAddr
	}
	addr, err := netip.ParseAddr(host)
	if err != nil || addr.Unmap().Is4() {
		return host
	}
	network, err := addr.WithZone("").Prefix(64)
	if err != nil {
		return host
	}
	return network.String()
}

// rememberedCallers bounds those whose rate is counted; who is forgotten begins
// with a full bucket again.
const rememberedCallers = 4096

// Rates bound how often a caller asks, by a token bucket for each. They may be
// used by several goroutines.
type Rates struct {
	rate, burst float64
	now         func() time.Time

	mu      sync.Mutex
	buckets *simplelru.LRU[string, *bucket]
}

type bucket struct {
	tokens float64
	at     time.Time
}

// NewRates returns bounds of so many requests a second in the long run, and of
// so many at once.
func NewRates(rate, burst int) *Rates {
	buckets, _ := simplelru.NewLRU[string, *bucket](rememberedCallers, nil) // fails only for a size below 1
	return &Rates{rate: float64(rate), burst: float64(burst), now: time.Now, buckets: buckets}
}

// Take counts a request of a caller's, or fails with ErrTooMany.
func (r *Rates) Take(caller string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	b, ok := r.buckets.Get(caller)
	if !ok {
		b = &bucket{tokens: r.burst, at: now}
		r.buckets.Add(caller, b)
	}
	b.tokens = min(r.burst, b.tokens+max(0, now.Sub(b.at).Seconds())*r.rate)
	b.at = now
	if b.tokens < 1 {
		return fmt.Errorf("%w: more than %.0f a second from %s", ErrTooMany, r.rate, caller)
	}
	b.tokens--
	return nil
}

// Slots bound how much is done at a time. They may be used by several
// goroutines.
type Slots struct {
	most, mostOfCaller int

	mu    sync.Mutex
	taken int
	own   map[string]int // of those who have any
}

// NewSlots returns so many slots, of which one caller has at most so many.
func NewSlots(most, mostOfCaller int) *Slots {
	return &Slots{most: most, mostOfCaller: mostOfCaller, own: map[string]int{}}
}

// Take takes a slot until done is called, once. It fails with ErrTooMany for a
// caller who has as many as one may, and with ErrBusy when none is left.
func (s *Slots) Take(caller string) (done func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.own[caller] >= s.mostOfCaller:
		return nil, fmt.Errorf("%w: %d at a time from %s", ErrTooMany, s.own[caller], caller)
	case s.taken >= s.most:
		return nil, fmt.Errorf("%w: %d at a time", ErrBusy, s.taken)
	}
	s.taken++
	s.own[caller]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.taken--
		if s.own[caller]--; s.own[caller] == 0 {
			delete(s.own, caller)
		}
	}, nil
}

// Used is how many slots are taken, of how many.
func (s *Slots) Used() (taken, most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken, s.most
}
