package clustertest_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/esante-alsace/cigogne/consensus"
	"github.com/esante-alsace/cigogne/consensus/clustertest"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
)

// writer proposes a study after the other.
type writer struct {
	t    *testing.T
	next atomic.Int64
}

func (w *writer) batch(i int) index.Batch {
	p := indextest.Population{Seed: 5, MaxSeries: 1, MaxInstances: 2}
	return index.Batch{Received: p.Study(i)}
}

// write proposes n studies to the node; each must be visible there afterwards.
func (w *writer) write(to *clustertest.Node, n int) {
	w.t.Helper()
	for range n {
		b := w.batch(int(w.next.Add(1) - 1))
		if err := to.Propose(w.t.Context(), b); err != nil {
			w.t.Fatalf("proposed to %s: %v", to.ID, err)
		}
		if !has(w.t, to, b) {
			w.t.Fatalf("node %s does not have what it was proposed", to.ID)
		}
	}
}

func has(t *testing.T, n *clustertest.Node, b index.Batch) bool {
	t.Helper()
	s, err := n.Index.Has(t.Context(), b.Received[0])
	if err != nil {
		t.Fatal(err)
	}
	return s == index.StandingDuplicate
}

// whole fails unless every node that runs comes to have all that was written,
// and the very same.
func (w *writer) whole(c *clustertest.Cluster) {
	w.t.Helper()
	want := ""
	for _, id := range c.Running() {
		n := c.Node(id)
		c.Eventually("node "+id+" learns what is committed", func() bool {
			_, err := n.Read(w.t.Context(), consensus.Strong, 0)
			if err != nil && !errors.Is(err, storage.ErrUnavailable) {
				w.t.Fatalf("node %s: %v", id, err)
			}
			return err == nil
		})
		var all strings.Builder
		count := 0
		for ds, err := range n.Index.Search(w.t.Context(), index.Query{Level: index.Study}) {
			if err != nil {
				w.t.Fatal(err)
			}
			all.Write(ds.AppendJSON(nil))
			count++
		}
		if count != int(w.next.Load()) {
			w.t.Errorf("node %s has %d studies of %d", id, count, w.next.Load())
		}
		got := all.String()
		if want == "" {
			want = got
		}
		if got != want {
			w.t.Errorf("node %s answers otherwise than the others", id)
		}
		for problem, err := range n.Index.Check(w.t.Context()) {
			w.t.Errorf("node %s: %s (%v)", id, problem, err)
		}
	}
}
