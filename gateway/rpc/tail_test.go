package rpc

import (
	"context"
	"fmt"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// numbered is a feed of which only some is kept, and that counts its readings.
type numbered struct {
	*parts
	first, last int64
	reads       int
	happened    chan struct{}
}

func newNumbered(last int64) *numbered {
	return &numbered{parts: &parts{}, first: 1, last: last, happened: make(chan struct{})}
}

// grow lets n events happen.
func (f *numbered) grow(n, keep int64) {
	f.last += n
	f.first = max(1, f.last-keep)
	if n > 0 {
		close(f.happened)
		f.happened = make(chan struct{})
	}
}

func (f *numbered) Happened() <-chan struct{} { return f.happened }

func (f *numbered) Events(_ context.Context, after int64, limit int) (list []index.Event, err error) {
	f.reads++
	if after != 0 && after < f.first-1 {
		return nil, fmt.Errorf("%w", storage.ErrGone)
	}
	for n := max(after+1, f.first); n <= f.last && len(list) < limit; n++ {
		list = append(list, index.Event{Sequence: n})
	}
	return list, nil
}

func open(more <-chan struct{}) bool {
	select {
	case <-more:
		return false
	default:
		return more != nil
	}
}

// TestTail: whoever reads, and wherever in the feed, gets what the index has,
// in order and without gaps; and who got less than there is need not wait.
func TestTail(t *testing.T) {
	feed := newNumbered(10)
	newest := &tail{history: feed}
	positions := []int64{0, 0, 0, 0}
	limits := []int{1000, 7, 1000, 1}
	for round := range 3000 {
		feed.grow(int64(round%5), 9000)
		for i, after := range positions {
			if i == 1 && round%3 > 0 || i == 2 && round%700 > 0 || i == 3 && round > 100 {
				continue // one is behind now and then, one far behind mostly, one stays behind
			}
			list, more, err := newest.after(t.Context(), after, limits[i])
			if err != nil {
				t.Fatalf("round %d: reader %d after %d: %v", round, i, after, err)
			}
			for _, e := range list {
				if after++; after != e.Sequence && positions[i] != 0 {
					t.Fatalf("round %d: reader %d gets %d instead of %d", round, i, e.Sequence, after)
				}
				after = e.Sequence
			}
			if after < feed.last && len(list) < limits[i] && open(more) {
				t.Fatalf("round %d: reader %d has %d of %d events and is left to wait", round, i, after, feed.last)
			}
			positions[i] = after
		}
		if len(newest.list) > 2*tailEvents {
			t.Fatalf("%d events are held", len(newest.list))
		}
	}
	if positions[0] != feed.last {
		t.Errorf("one who always reads has %d of %d", positions[0], feed.last)
	}
}

// TestTailIsShared: those at the end of the feed share one reading of the
// index.
func TestTailIsShared(t *testing.T) {
	feed := newNumbered(1000)
	newest := &tail{history: feed}
	if _, _, err := newest.after(t.Context(), 900, 1000); err != nil {
		t.Fatal(err)
	}
	feed.grow(100, 5000)
	feed.reads = 0
	for range 50 {
		for _, after := range []int64{1000, 1050, 1100} {
			if list, _, err := newest.after(t.Context(), after, 1000); err != nil || int64(len(list)) != 1100-after {
				t.Fatalf("after %d: %d events, %v", after, len(list), err)
			}
		}
	}
	if feed.reads != 1 {
		t.Errorf("they cost %d readings", feed.reads)
	}
}

// TestTailIsPassed: when the feed has moved past all that is held, who is at
// its end goes on, and who was in between hears that there is a gap.
func TestTailIsPassed(t *testing.T) {
	feed := newNumbered(100)
	newest := &tail{history: feed}
	if _, _, err := newest.after(t.Context(), 50, 1000); err != nil {
		t.Fatal(err)
	}
	feed.grow(10_000, 10)
	if _, _, err := newest.after(t.Context(), 100, 1000); err == nil {
		t.Error("a gap is not told")
	}
	list, _, err := newest.after(t.Context(), feed.last-5, 1000)
	if err != nil || len(list) != 5 {
		t.Errorf("%d events, %v", len(list), err)
	}
}
