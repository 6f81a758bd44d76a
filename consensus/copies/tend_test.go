package copies_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/consensus/copies"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// TestTend: a copy gives back what the index does not need, whole or not, and
// keeps what lies in it, what may be indexed yet, and what is being written.
func TestTend(t *testing.T) {
	c := newNodes(t, 2)
	n := c.all["n1"]
	id := index.JournalID(n.journal.ID())
	x, err := index.Open(t.Context(), index.Options{Path: filepath.Join(t.TempDir(), "index.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	segments := map[uint64]journal.Position{}
	for len(segments) < 4 {
		at, err := n.put(random(100_000))
		if err != nil {
			t.Fatal(err)
		}
		segments[at.Segment] = at
	}
	var numbers []uint64
	for number := range segments {
		numbers = append(numbers, number)
	}
	low, high := numbers[0], numbers[0]
	for _, s := range numbers {
		low, high = min(low, s), max(high, s)
	}
	apply := func(b index.Batch) {
		t.Helper()
		if _, err := x.Apply(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	// The first segment is in use; the index is past the one after it.
	used := indextest.Population{Journal: id}.Study(1)[0]
	used.At = index.Position{Journal: id, Segment: low, Offset: segments[low].Offset}
	last := segments[low+1]
	apply(index.Batch{Received: []index.Instance{used}, Through: index.Position{Journal: id, Segment: last.Segment, Offset: last.Offset}})
	held := c.all["n2"].holder
	// What its journal could not read of the segment after it may be sound here.
	unread := index.Position{Journal: id, Segment: low + 1, Offset: segments[low+1].Offset}
	apply(index.Batch{Journals: []index.JournalChange{{Journal: id, Unread: []index.Position{unread}}}})
	has := func() map[uint64]bool {
		all := map[uint64]bool{}
		for _, e := range held.Copy(string(id)).Extents() {
			all[e.Segment] = true
		}
		return all
	}
	eventually(t, "the segments come whole", func() bool {
		for _, e := range held.Copy(string(id)).Extents() {
			if e.Segment < high && !e.Whole {
				return false
			}
		}
		return true
	})
	if err := held.Release(t.Context(), x, string(id)); err != nil {
		t.Fatal(err)
	}
	if got := has(); !got[low+1] {
		t.Errorf("there are %v, and the journal could not read %v", got, unread)
	}
	apply(index.Batch{Journals: []index.JournalChange{{Journal: id, Settled: []index.Position{unread}}}})
	if err := held.Release(t.Context(), x, string(id)); err != nil {
		t.Fatal(err)
	}
	if got := has(); !got[low] || got[low+1] || !got[low+2] || !got[high] {
		t.Errorf("there are %v, of %d to %d", got, low, high)
	}
	// One that broke off goes when the index is past it, and not before.
	n.stop()
	release := func() map[uint64]bool {
		t.Helper()
		if err := held.Release(t.Context(), x, string(id)); err != nil {
			t.Fatal(err)
		}
		return has()
	}
	if got := release(); !got[high] || !got[low] {
		t.Errorf("there are %v, of %d to %d", got, low, high)
	}
	apply(index.Batch{Through: index.Position{Journal: id, Segment: high + 1, Offset: 64}})
	eventually(t, "it goes, once the holder has seen that it broke off", func() bool { return !release()[high] })
	if got := has(); !got[low] {
		t.Errorf("there are %v, of %d to %d", got, low, high)
	}
}

// TestWatch: the journals of nodes that are gone or not heard of are retired,
// once.
func TestWatch(t *testing.T) {
	x, err := index.Open(t.Context(), index.Options{Path: filepath.Join(t.TempDir(), "index.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	proposals := 0
	unseen := map[string]time.Duration{"n2": time.Second}
	o := copies.WatchOptions{
		Index: x, Members: func() []string { return []string{"n1", "n2"} }, After: time.Second,
		Unseen:  func() (map[string]time.Duration, error) { return unseen, nil },
		Propose: func(ctx context.Context, b index.Batch) error { proposals++; _, err := x.Apply(ctx, b); return err },
	}
	for node, id := range map[string]string{"n1": "a", "n2": "b", "n3": "c"} {
		if retired, err := copies.Claim(t.Context(), x, o.Propose, node, id); err != nil || retired {
			t.Fatal(retired, err)
		}
	}
	proposals = 0
	look := func(want map[string]bool) {
		t.Helper()
		if err := o.Look(t.Context()); err != nil {
			t.Fatal(err)
		}
		for id, is := range want {
			if retired, err := copies.Retired(t.Context(), x, id); err != nil || retired != is {
				t.Errorf("journal %s is retired: %v, %v", id, retired, err)
			}
		}
	}
	look(map[string]bool{"a": false, "b": false, "c": true})
	unseen["n2"] = 1001 * time.Millisecond
	look(map[string]bool{"a": false, "b": true, "c": true})
	look(map[string]bool{"a": false, "b": true, "c": true})
	if proposals != 2 {
		t.Errorf("%d proposals", proposals)
	}
	if retired, err := copies.Claim(t.Context(), x, o.Propose, "n2", "b"); err != nil || !retired {
		t.Errorf("a retired journal is claimed: %v, %v", retired, err)
	}
	if retired, err := copies.Claim(t.Context(), x, o.Propose, "n1", "new"); err != nil || retired {
		t.Errorf("a new one: %v, %v", retired, err)
	}
	look(map[string]bool{"a": true, "new": false})
}
