package clustertest_test

import (
	"context"
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
		propose(w.t, to, b)
		if !has(w.t, to, b) {
			w.t.Fatalf("node %s does not have what it was proposed", to.ID)
		}
	}
}

// propose returns once the node has committed the batch: a cluster on a busy
// machine may be without a leader for longer than one proposal waits.
func propose(t *testing.T, to *clustertest.Node, b index.Batch) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), clustertest.Patience)
	defer cancel()
	for {
		err := to.Propose(ctx, b)
		if err == nil {
			return
		}
		if ctx.Err() != nil || !errors.Is(err, storage.ErrUnavailable) {
			t.Fatalf("proposed to %s: %v", to.ID, err)
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

// readStrongly returns once a read at the node sees all that was committed
// before.
func readStrongly(t *testing.T, c *clustertest.Cluster, n *clustertest.Node, as consensus.Consistency) {
	t.Helper()
	c.Eventually("node "+n.ID+" learns what is committed", func() bool {
		r, err := n.Read(t.Context(), as, 0)
		if err != nil && !errors.Is(err, storage.ErrUnavailable) {
			t.Fatalf("node %s: %v", n.ID, err)
		}
		return err == nil && r.Consistency == consensus.Strong
	})
}

// whole fails unless every node that runs comes to have all that was written,
// and the very same.
func (w *writer) whole(c *clustertest.Cluster) {
	w.t.Helper()
	want := ""
	for _, id := range c.Running() {
		n := c.Node(id)
		readStrongly(w.t, c, n, consensus.Strong)
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
