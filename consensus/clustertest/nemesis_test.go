package clustertest_test

import (
	"context"
	"flag"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/consensus"
	"github.com/esante-alsace/cigogne/consensus/clustertest"
	"github.com/esante-alsace/cigogne/storage/index"
)

var (
	trouble = flag.Duration("nemesis", 8*time.Second, "how long TestUnderRandomFaults makes trouble")
	seed    = flag.Uint64("seed", 0, "what the faults of TestUnderRandomFaults are drawn from; 0 draws one")
)

// record is what clients were told, in order.
type record struct {
	mu    sync.Mutex
	acked []index.Batch
	reads int
}

func (r *record) ack(b index.Batch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.acked = append(r.acked, b)
}

// both tells whether there were both proposals and reads.
func (r *record) both() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.acked) > 0 && r.reads > 0
}

// some are what was acknowledged until now: all that is fresh and some of the
// rest.
func (r *record) some(rng *rand.Rand) []index.Batch {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.acked)
	out := append([]index.Batch(nil), r.acked[max(0, n-5):]...)
	for range min(n, 5) {
		out = append(out, r.acked[rng.IntN(n)])
	}
	return out
}

// TestUnderRandomFaults: while nodes are cut off, made deaf or mute, slowed,
// killed one at a time and all together, and their disks are slow, nothing that
// was acknowledged is missing from a later read at any node, and no session
// goes back in time.
func TestUnderRandomFaults(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("seed %d", *seed)
	c := clustertest.New(t)
	small(c)
	ids := []string{"n1", "n2", "n3"}
	for _, id := range ids {
		c.Start(id)
	}
	c.Settled(3)
	w := &writer{t: t}
	var rec record
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var clients sync.WaitGroup
	for i := range uint64(3) {
		clients.Go(func() { write(ctx, c, w, &rec, rand.New(rand.NewPCG(*seed, i))) })
		clients.Go(func() { read(ctx, t, c, &rec, rand.New(rand.NewPCG(*seed, 100+i))) })
	}
	plague(c, ids, rand.New(rand.NewPCG(*seed, 1000)), *trouble)
	heal(c, ids)
	c.Eventually("somebody was served", rec.both)
	cancel()
	clients.Wait()

	for _, id := range ids {
		n := c.Node(id)
		readStrongly(t, c, n, consensus.Strong)
		for _, b := range rec.acked {
			if !has(t, n, b) {
				t.Errorf("node %s misses %s", id, b.Received[0].Key)
			}
		}
		for problem, err := range n.Index.Check(t.Context()) {
			t.Errorf("node %s: %s (%v)", id, problem, err)
		}
	}
	t.Logf("%d proposals acknowledged, %d reads checked", len(rec.acked), rec.reads)
}

// write proposes to one node after the other, whichever runs.
func write(ctx context.Context, c *clustertest.Cluster, w *writer, rec *record, rng *rand.Rand) {
	for ctx.Err() == nil {
		n := c.Some(rng)
		if n == nil {
			continue
		}
		b := w.batch(int(w.next.Add(1) - 1))
		bounded, cancel := context.WithTimeout(ctx, 3*time.Second)
		if n.Propose(bounded, b) == nil {
			rec.ack(b)
		}
		cancel()
	}
}

// read is a session that goes from node to node.
func read(ctx context.Context, t *testing.T, c *clustertest.Cluster, rec *record, rng *rand.Rand) {
	var seen uint64
	for ctx.Err() == nil {
		n := c.Some(rng)
		if n == nil {
			continue
		}
		want := rec.some(rng)
		got, err := n.Read(ctx, consensus.Fresh, 0)
		if err != nil || got.Consistency != consensus.Strong {
			continue
		}
		if got.Applied < seen {
			t.Errorf("a session went from entry %d back to %d at node %s", seen, got.Applied, n.ID)
		}
		seen = got.Applied
		for _, b := range want {
			s, err := n.Index.Has(ctx, b.Received[0])
			if err != nil {
				break // it is being killed
			}
			if s != index.StandingDuplicate {
				t.Errorf("node %s does not find %s, which was acknowledged before", n.ID, b.Received[0].Key)
			}
		}
		rec.mu.Lock()
		rec.reads++
		rec.mu.Unlock()
	}
}

// plague makes one fault after the other.
func plague(c *clustertest.Cluster, ids []string, rng *rand.Rand, until time.Duration) {
	end := time.After(until)
	for {
		a, b := ids[rng.IntN(3)], ids[rng.IntN(3)]
		switch rng.IntN(10) {
		case 0, 1:
			c.Net.Isolate(a)
		case 2:
			c.Net.Cut(a, b)
		case 3:
			c.Net.HalfOpen(a, b)
		case 4:
			c.Net.Delay(a, b, time.Duration(rng.IntN(30))*time.Millisecond)
		case 5, 6:
			c.Kill(a)
			c.Start(a)
		case 7:
			for _, id := range ids {
				c.Kill(id)
			}
			for _, id := range ids {
				c.Start(id)
			}
		case 8:
			c.Jump(a, time.Duration(rng.IntN(100)-50)*time.Hour)
		case 9:
			c.Slow(a, time.Duration(rng.IntN(500))*time.Millisecond)
		}
		t := time.NewTimer(time.Duration(200+rng.IntN(1000)) * time.Millisecond)
		select {
		case <-end:
			t.Stop()
			return
		case <-t.C:
		}
		if rng.IntN(4) > 0 {
			heal(c, ids)
		}
	}
}

// heal ends what is wrong with network and disks.
func heal(c *clustertest.Cluster, ids []string) {
	c.Net.Heal()
	for _, id := range ids {
		c.Slow(id, 0)
	}
}
