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
}

func (f *numbered) Events(_ context.Context, after int64, limit int) (list []index.Event, err error) {
	f.reads++
	if after != 0 && (after < f.first-1 || after > f.last) {
		return nil, fmt.Errorf("%w", storage.ErrGone)
	}
	for n := max(after+1, f.first); n <= f.last && len(list) < limit; n++ {
		list = append(list, index.Event{Sequence: n})
	}
	return list, nil
}

// TestTail: whoever reads, and wherever in the feed, gets what the index has,
// in order and without gaps; those at its end share one reading.
func TestTail(t *testing.T) {
	feed := &numbered{parts: &parts{}, first: 1, last: 10}
	newest := &tail{history: feed}
	positions := []int64{0, 0, 0, 0}
	limits := []int{1000, 7, 1000, 1}
	for round := range 3000 {
		feed.last += int64(round % 5)
		feed.first = max(1, feed.last-9000)
		for i, after := range positions {
			if i == 2 && round%700 != 0 || i == 3 && round > 100 {
				continue // one is far behind mostly, one stays behind
			}
			list, err := newest.after(t.Context(), after, limits[i])
			if err != nil {
				t.Fatalf("round %d: reader %d after %d: %v", round, i, after, err)
			}
			want := min(feed.last-max(after, feed.first-1), int64(limits[i]))
			if int64(len(list)) != want && i != 0 || len(list) == 0 && want > 0 {
				t.Fatalf("round %d: reader %d after %d gets %d events, of %d", round, i, after, len(list), want)
			}
			for _, e := range list {
				if after++; after != e.Sequence {
					t.Fatalf("round %d: reader %d gets %d instead of %d", round, i, e.Sequence, after)
				}
			}
			positions[i] = after
		}
		if len(newest.list) > 2*tailEvents {
			t.Fatalf("%d events are held", len(newest.list))
		}
	}
	if _, err := newest.after(t.Context(), feed.last, 10); err != nil {
		t.Fatal(err)
	}
	feed.reads = 0
	feed.last += 100
	for range 50 {
		if list, err := newest.after(t.Context(), feed.last-100, 1000); err != nil || len(list) != 100 {
			t.Fatalf("%d events, %v", len(list), err)
		}
	}
	if feed.reads != 1 {
		t.Errorf("50 readers cost %d readings", feed.reads)
	}
}
