package gateway_test

import (
	"context"
	"io"
	"slices"
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
	size  int64         // of each; 3 when it is read

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
	s.size = max(s.size, 3)
	in := make([]gateway.Instance, n)
	for i := range in {
		in[i] = &book{books: s, at: i}
	}
	return in
}

func (o *book) About() storage.Instance { return storage.Instance{Size: o.books.size} }

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
	return &page{strings.NewReader("abc"[r.Offset:min(r.End(), 3)]), o.books}, nil
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

// TestInOrder: before the second is read and each after it, the next is opened,
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
							expect(t, s, i, i+1)
						} else {
							expect(t, s, i+1)
						}
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

// expect waits for these to be opened, in any order.
func expect(t *testing.T, s *books, opened ...int) {
	t.Helper()
	for range opened {
		if got := <-s.opens; !slices.Contains(opened, got) {
			t.Fatalf("instance %d was opened, not one of %d", got, opened)
		}
	}
}

// TestAhead: four are opened ahead, more when half of them were read, and of
// long ones one.
func TestAhead(t *testing.T) {
	for name, c := range map[string]struct {
		size int64
		want [][]int // what is opened by when each was asked for
	}{
		"short":  {1 << 20, [][]int{{0}, {1, 2, 3, 4, 5}, nil, {6, 7}, nil, {8, 9}, nil, nil, nil, nil}},
		"longer": {2 << 20, [][]int{{0}, {1, 2, 3}, {4}, {5}, {6}, {7}, {8}, {9}, nil, nil}},
		"long":   {5 << 20, [][]int{{0}, {1, 2}, {3}, {4}, {5}, {6}, {7}, {8}, {9}, nil}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &books{opens: make(chan int, 20), fails: -1, takes: time.Millisecond, size: c.size}
				for i, in := range gateway.InOrder(t.Context(), s.instances(len(c.want))) {
					body, err := in.Open(t.Context(), storage.Range{Length: c.size})
					if err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Second) // by the clock of the bubble
					synctest.Wait()
					var got []int
					for len(s.opens) > 0 {
						got = append(got, <-s.opens)
					}
					if !slices.Equal(got, c.want[i]) {
						t.Errorf("at %d: %d were opened, not %d", i, got, c.want[i])
					}
					body.Close()
				}
			})
		})
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

// TestLeaveOut: what was opened ahead and is left out, as by a peer that has no
// context for it, is closed when another is read.
func TestLeaveOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &books{opens: make(chan int, 100), fails: -1, takes: time.Millisecond}
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		in := gateway.InOrder(ctx, s.instances(60))
		for at := 0; at < len(in); at++ {
			if at%6 > 1 { // two are read, four are left out
				continue
			}
			body, err := in[at].Open(ctx, storage.Range{Length: 3})
			if err != nil {
				t.Fatal(err)
			}
			body.Close()
			time.Sleep(time.Second) // by the clock of the bubble
			s.mu.Lock()
			if s.open > 4 {
				t.Errorf("at %d: %d are open", at, s.open)
			}
			s.mu.Unlock()
		}
	})
}

// lateBook is opened at the moment at which its reader leaves.
type lateBook struct{ *book }

func (l lateBook) Open(ctx context.Context, _ storage.Range) (io.ReadCloser, error) {
	<-ctx.Done()
	l.books.mu.Lock()
	defer l.books.mu.Unlock()
	l.books.open++
	return &page{strings.NewReader("abc"), l.books}, nil
}

// TestLeftWhileItIsOpened: what was opened ahead is closed, too, when its reader
// waits for it and leaves, whoever notices first.
func TestLeftWhileItIsOpened(t *testing.T) {
	for range 100 {
		synctest.Test(t, func(t *testing.T) {
			s := &books{opens: make(chan int, 20), fails: -1, takes: time.Millisecond, size: 5 << 20} // one is opened ahead
			all := s.instances(6)
			all[2] = lateBook{&book{books: s, at: 2}}
			ctx, leave := context.WithCancel(t.Context())
			in := gateway.InOrder(ctx, all)
			open := func(at int) {
				if body, err := in[at].Open(ctx, storage.Range{Length: s.size}); err == nil {
					body.Close()
				}
			}
			open(0)
			open(1)
			go open(2)
			synctest.Wait()
			leave()
			time.Sleep(time.Second) // by the clock of the bubble
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.open > 0 {
				t.Errorf("%d are open", s.open)
			}
		})
	}
}
