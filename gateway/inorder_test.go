package gateway_test

import (
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
)

// books are instances that tell when they are opened and closed.
type books struct {
	opens chan int
	fails int           // the one that cannot be opened at first, or -1
	takes time.Duration // to be opened

	mu     sync.Mutex
	open   int
	failed bool
}

type book struct {
	gateway.Instance // nothing else is asked
	books            *books
	at               int
}

func (s *books) instances(n int) []gateway.Instance {
	in := make([]gateway.Instance, n)
	for i := range in {
		in[i] = &book{books: s, at: i}
	}
	return in
}

func (o *book) About() storage.Instance { return storage.Instance{Size: 3} }

func (o *book) Open(_ context.Context, r storage.Range) (io.ReadCloser, error) {
	time.Sleep(o.books.takes) // by the clock of the test's bubble
	o.books.mu.Lock()
	defer o.books.mu.Unlock()
	o.books.opens <- o.at
	if o.at == o.books.fails && !o.books.failed {
		o.books.failed = true
		return nil, storage.ErrUnavailable
	}
	o.books.open++
	return &page{strings.NewReader("abc"[r.Offset:r.End()]), o.books}, nil
}

type page struct {
	io.Reader
	books *books
}

func (f *page) Close() error {
	f.books.mu.Lock()
	defer f.books.mu.Unlock()
	f.books.open--
	return nil
}

// TestInOrder: while the second is read and each after it, the next is opened,
// once; what could not be opened ahead is tried again, and all is closed in
// the end.
func TestInOrder(t *testing.T) {
	for name, fails := range map[string]int{"all well": -1, "one fails ahead": 3} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &books{opens: make(chan int, 20), fails: fails, takes: time.Millisecond}
				read(t, s, func(i int) {
					switch i {
					case 0:
						expect(t, s, 0)
						if len(s.opens) > 0 {
							t.Error("another was opened when one was")
						}
					case 1:
						expect(t, s, 1, 2)
					default:
						if i == fails {
							expect(t, s, i)
						}
						expect(t, s, i+1) // before this one is read
					}
				})
			})
		})
	}
}

// TestInNoTime: what is opened in no time is opened when it is asked for.
func TestInNoTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &books{opens: make(chan int, 20), fails: -1}
		read(t, s, func(i int) {
			expect(t, s, i)
			synctest.Wait()
			if len(s.opens) > 0 {
				t.Errorf("instance %d was opened, too", <-s.opens)
			}
		})
	})
}

// read opens five of six instances in order, and has open look at what was
// opened for each before it is read.
func read(t *testing.T, s *books, open func(i int)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	for i, in := range gateway.InOrder(ctx, s.instances(6))[:5] {
		body, err := in.Open(ctx, storage.Range{Length: 3})
		if err != nil {
			t.Fatal(err)
		}
		open(i)
		if b, err := io.ReadAll(body); string(b) != "abc" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		body.Close()
	}
	cancel()
	time.Sleep(time.Second) // by the clock of the bubble: the last is opened, for which nobody came
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open != 0 {
		t.Errorf("%d are still open", s.open)
	}
}

func expect(t *testing.T, s *books, opened ...int) {
	t.Helper()
	for _, want := range opened {
		if got := <-s.opens; got != want {
			t.Fatalf("instance %d was opened, not %d", got, want)
		}
	}
}

// TestOutOfOrder: who reads parts, or in another order, has nothing opened for
// them.
func TestOutOfOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &books{opens: make(chan int, 20), fails: -1, takes: time.Millisecond}
		in := gateway.InOrder(t.Context(), s.instances(5))
		for _, at := range []int{4, 3, 1, 0, 2} {
			for _, r := range []storage.Range{{Offset: 1, Length: 1}, {Length: 3}} {
				body, err := in[at].Open(t.Context(), r)
				if err != nil {
					t.Fatal(err)
				}
				expect(t, s, at)
				body.Close()
			}
		}
		synctest.Wait()
		if len(s.opens) > 0 {
			t.Errorf("instance %d was opened, too", <-s.opens)
		}
	})
}
