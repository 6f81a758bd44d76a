package throttle

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"
)

// TestCaller: a host is one caller from all its ports, and from all addresses
// of its IPv6 network.
func TestCaller(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1:4711":             "192.0.2.1",
		"[::ffff:192.0.2.1]:4711":    "::ffff:192.0.2.1",
		"[2001:db8::1]:80":           "2001:db8::/64",
		"[2001:db8::dead:beef]:81":   "2001:db8::/64",
		"[2001:db8:0:1::1]:80":       "2001:db8:0:1::/64",
		"[fe80::1%eth0]:80":          "fe80::/64",
		"@":                          "@",
		"":                           "",
		"not an address, no port at": "not an address, no port at",
	} {
		if got := Caller(addr); got != want {
			t.Errorf("%q is of %q, not %q", addr, got, want)
		}
	}
}

// TestRates: a caller has its burst and then its rate; another caller is not
// touched, and a clock that goes back gives and takes nothing.
func TestRates(t *testing.T) {
	now := time.Unix(1000, 0)
	r := NewRates(10, 20)
	r.now = func() time.Time { return now }
	admitted := func(host string, n int) (in int) {
		for range n {
			if err := r.Take(host); err == nil {
				in++
			} else if !errors.Is(err, ErrTooMany) {
				t.Fatal(err)
			}
		}
		return in
	}
	if in := admitted("a", 100); in != 20 {
		t.Errorf("%d of a burst of 20", in)
	}
	now = now.Add(time.Second)
	if in := admitted("a", 100); in != 10 {
		t.Errorf("%d in the second after, of 10", in)
	}
	if in := admitted("b", 5); in != 5 {
		t.Errorf("%d of another caller's 5", in)
	}
	now = now.Add(-time.Hour)
	if in := admitted("b", 100); in != 15 {
		t.Errorf("%d of the 15 that are left when the clock went back", in)
	}
}

// TestRatesAreBoundedInMemory: however many callers come, only some are
// remembered.
func TestRatesAreBoundedInMemory(t *testing.T) {
	r := NewRates(1, 1)
	for i := range 3 * rememberedCallers {
		if err := r.Take(strconv.Itoa(i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.buckets.Len(); n != rememberedCallers {
		t.Errorf("%d are remembered, not %d", n, rememberedCallers)
	}
}

// TestSlots: who has as many as one may is told so, another one is served until
// all are taken; what ends makes room, and nothing is left of who went.
func TestSlots(t *testing.T) {
	s := NewSlots(3, 2)
	var ends []func()
	take := func(caller string, want error) {
		t.Helper()
		done, err := s.Take(caller)
		if !errors.Is(err, want) {
			t.Fatalf("%s: %v, want %v", caller, err, want)
		}
		if err == nil {
			ends = append(ends, done)
		}
	}
	take("a", nil)
	take("a", nil)
	take("a", ErrTooMany)
	take("b", nil)
	take("b", ErrBusy)
	if taken, most := s.Used(); taken != 3 || most != 3 {
		t.Errorf("%d of %d are taken", taken, most)
	}
	for _, done := range ends {
		done()
	}
	take("b", nil)
	ends[3]()
	if taken, _ := s.Used(); taken != 0 || len(s.own) != 0 {
		t.Errorf("%d are taken by %v when all have ended", taken, s.own)
	}
}

// TestGate: a caller over its bound is told 429, one over everybody's 503, both
// when to come again; another caller beside it is served.
func TestGate(t *testing.T) {
	var refused []error
	g := NewGate(Limits{Rate: 2, Most: 2, MostOfCaller: 1}, func(err error) { refused = append(refused, err) })
	entered, leave := make(chan struct{}), make(chan struct{})
	h := g.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			entered <- struct{}{}
			<-leave
		}
	}))
	ask := func(host, path string) *httptest.ResponseRecorder {
		rq := httptest.NewRequest(http.MethodGet, path, nil)
		rq.RemoteAddr = host + ":1"
		w := httptest.NewRecorder()
		h.ServeHTTP(w, rq)
		return w
	}
	ended := make(chan int, 2)
	for _, host := range []string{"192.0.2.1", "192.0.2.2"} {
		go func() { ended <- ask(host, "/slow").Code }()
		<-entered
	}
	for host, want := range map[string]int{"192.0.2.1": http.StatusTooManyRequests, "192.0.2.3": http.StatusServiceUnavailable} {
		if w := ask(host, "/"); w.Code != want || w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: %d, Retry-After %q, want %d", host, w.Code, w.Header().Get("Retry-After"), want)
		}
	}
	close(leave)
	for range 2 {
		if code := <-ended; code != http.StatusOK {
			t.Errorf("one that was under way: %d", code)
		}
	}
	for range 10 {
		ask("192.0.2.4", "/")
	}
	if w := ask("192.0.2.4", "/"); w.Code != http.StatusTooManyRequests {
		t.Errorf("who asks too often: %d", w.Code)
	}
	if w := ask("192.0.2.5", "/"); w.Code != http.StatusOK {
		t.Errorf("another one: %d", w.Code)
	}
	if len(refused) < 3 || !errors.Is(refused[len(refused)-1], ErrTooMany) {
		t.Errorf("told of %v", refused)
	}
}

func BenchmarkGate(b *testing.B) {
	h := NewGate(Limits{Rate: 1 << 30, Most: 1024, MostOfCaller: 1024}, nil).Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	rq := httptest.NewRequest(http.MethodGet, "/", nil)
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			h.ServeHTTP(nil, rq)
		}
	})
}
