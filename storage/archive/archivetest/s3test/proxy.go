package s3test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// Fault is what happens to one request. The zero value is nothing.
type Fault struct {
	// Delay is before anything else happens.
	Delay time.Duration
	// Status is answered instead of asking the server, with the S3 error Code.
	Status int
	Code   string
	// Reset breaks the connection: before the server is asked, or with
	// LoseAnswer when it has done what it was asked.
	Reset, LoseAnswer bool
	// FlipRequest and FlipAnswer change the byte at that offset of the body,
	// counted from 1.
	FlipRequest, FlipAnswer int64
	// CutAnswer breaks the connection after so many bytes of the body, and
	// StallAnswer sends no more after so many, until the client is gone.
	CutAnswer, StallAnswer int64
}

// Proxy stands between a client and a server. What it did is counted.
type Proxy struct {
	// URL is the proxy's own.
	URL string

	target string
	wire   *http.Transport
	done   chan struct{} // closed when the test ends

	mu     sync.Mutex
	fault  func(*http.Request) Fault
	counts map[string]int
}

// StartProxy starts a proxy in front of a server's URL; it ends with the test.
func StartProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	p := &Proxy{target: strings.TrimPrefix(target, "http://"), wire: http.DefaultTransport.(*http.Transport).Clone(), counts: map[string]int{}, done: make(chan struct{})}
	p.wire.DisableCompression = true
	p.wire.MaxIdleConnsPerHost = 64
	server := httptest.NewServer(p)
	p.URL = server.URL
	t.Cleanup(func() {
		close(p.done)
		server.CloseClientConnections()
		server.Close()
		p.wire.CloseIdleConnections()
	})
	return p
}

// Do has every later request suffer what f says; nil is nothing.
func (p *Proxy) Do(f func(*http.Request) Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = f
}

// Requests tells how many requests of a method there were since the last
// Reset; all when it is empty.
func (p *Proxy) Requests(method string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts[method]
}

// Reset counts anew.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.counts)
}

func (p *Proxy) next(r *http.Request) Fault {
	p.mu.Lock()
	p.counts[r.Method]++
	p.counts[""]++
	f := p.fault
	p.mu.Unlock()
	if f == nil {
		return Fault{}
	}
	return f(r)
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f := p.next(r)
	if f.Delay > 0 {
		select {
		case <-time.After(f.Delay):
		case <-r.Context().Done():
			return
		case <-p.done: // a client that is gone is not seen before its body is read
			return
		}
	}
	switch {
	case f.Reset && !f.LoseAnswer:
		panic(http.ErrAbortHandler)
	case f.Status != 0:
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(f.Status)
		if r.Method != http.MethodHead {
			fmt.Fprintf(w, "<Error><Code>%s</Code><Message>on purpose</Message></Error>", f.Code)
		}
		return
	}
	p.forward(w, r, f)
}

// forward asks the server; the Host stays the one that the client signed.
func (p *Proxy) forward(w http.ResponseWriter, r *http.Request, f Fault) {
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host, out.RequestURI = "http", p.target, ""
	out.Header.Del("Expect")
	if r.ContentLength == 0 {
		out.Body = http.NoBody
	} else {
		out.Body = io.NopCloser(&flipper{Reader: r.Body, at: f.FlipRequest})
	}
	answer, err := p.wire.RoundTrip(out)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer answer.Body.Close()
	if f.LoseAnswer {
		_, _ = io.Copy(io.Discard, answer.Body)
		panic(http.ErrAbortHandler)
	}
	for name, values := range answer.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.StatusCode)
	var body io.Reader = &flipper{Reader: answer.Body, at: f.FlipAnswer}
	if most := f.CutAnswer + f.StallAnswer; most > 0 {
		_, _ = io.CopyN(w, body, most)
		_ = http.NewResponseController(w).Flush()
		if f.StallAnswer > 0 {
			select {
			case <-r.Context().Done():
			case <-p.done:
			}
		}
		panic(http.ErrAbortHandler)
	}
	if _, err := io.Copy(w, body); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// flipper changes the byte at an offset, counted from 1; 0 is none.
type flipper struct {
	io.Reader
	at, n int64
}

func (f *flipper) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if i := f.at - f.n - 1; f.at > 0 && i >= 0 && i < int64(n) {
		p[i] ^= 0x10
	}
	f.n += int64(n)
	return n, err
}
