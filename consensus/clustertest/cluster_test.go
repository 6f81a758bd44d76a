package clustertest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/consensus"
	"github.com/esante-alsace/cigogne/consensus/clustertest"
	"github.com/esante-alsace/cigogne/consensus/peer"
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

func TestAnyNodeTakesProposals(t *testing.T) {
	c := clustertest.Of(t, 3)
	w := &writer{t: t}
	for _, id := range c.Running() {
		w.write(c.Node(id), 5)
	}
	w.whole(c)
}

// What one node was answered the next query at any other finds.
func TestAReadSeesWhatWasAnswered(t *testing.T) {
	c := clustertest.Of(t, 3)
	w := &writer{t: t}
	for i := range 30 {
		ids := c.Running()
		b := w.batch(i)
		if err := c.Node(ids[i%3]).Propose(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			r, err := c.Node(id).Read(t.Context(), consensus.Fresh, 0)
			if err != nil || r.Consistency != consensus.Strong {
				t.Fatalf("%+v, %v", r, err)
			}
			if !has(t, c.Node(id), b) {
				t.Fatalf("study %d was proposed to %s and is not read at %s", i, ids[i%3], id)
			}
		}
	}
}

func TestTheLeaderIsCutOff(t *testing.T) {
	c := clustertest.Of(t, 3)
	c.Staleness = 300 * time.Millisecond
	w := &writer{t: t}
	w.write(c.Node("n2"), 3)
	old := c.Leader()
	c.Net.Isolate(old.ID)
	fresh := c.Leader(old.ID)
	for _, n := range c.Others(old.ID) {
		w.write(n, 3)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := old.Propose(ctx, w.batch(1000)); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("a leader without followers committed: %v", err)
	}
	if _, err := old.Read(t.Context(), consensus.Strong, 0); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("a leader without followers read: %v", err)
	}
	c.Net.Heal()
	w.write(old, 3)
	// The proposal that failed was of a leader that was none: it may not have
	// come into the log.
	w.whole(c)
	if fresh.ID == old.ID {
		t.Error("nobody took over")
	}
}

func TestAMinorityReadsNothingOld(t *testing.T) {
	c := clustertest.New(t)
	c.Staleness = 300 * time.Millisecond
	for _, id := range []string{"n1", "n2", "n3"} {
		c.Start(id)
	}
	c.Settled(3)
	w := &writer{t: t}
	w.write(c.Node("n1"), 2)
	away := c.Others(c.Leader().ID)[0]
	if r, err := away.Read(t.Context(), consensus.Bounded, 0); err != nil || r.Consistency != consensus.Bounded || r.Age > c.Staleness {
		t.Errorf("%+v, %v", r, err)
	}
	c.Net.Isolate(away.ID)
	w.write(c.Leader(away.ID), 2)
	if r, err := away.Read(t.Context(), consensus.Fresh, 0); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("it reads what is too old: %+v, %v", r, err)
	}
	c.Net.Heal()
	w.whole(c)
}

// A follower that hears the leader but is not heard, and one that is heard but
// hears nothing, hold nobody up for long.
func TestOneWay(t *testing.T) {
	for _, deaf := range []bool{true, false} {
		t.Run(fmt.Sprintf("deaf=%v", deaf), func(t *testing.T) {
			c := clustertest.Of(t, 3)
			w := &writer{t: t}
			leader := c.Leader().ID
			away := c.Others(leader)[0].ID
			for _, id := range c.Running() {
				if id == away {
					continue
				}
				if deaf {
					c.Net.Cut(id, away)
				} else {
					c.Net.Cut(away, id)
				}
			}
			w.write(c.Leader(away), 10)
			c.Net.Heal()
			w.whole(c)
		})
	}
}

// Connections that died without a word are replaced.
func TestHalfOpen(t *testing.T) {
	c := clustertest.Of(t, 3)
	w := &writer{t: t}
	w.write(c.Node("n3"), 3)
	for _, a := range c.Running() {
		for _, b := range c.Running() {
			if a < b {
				c.Net.HalfOpen(a, b)
			}
		}
	}
	c.Eventually("the cluster commits again", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		return c.Node("n3").Propose(ctx, index.Batch{}) == nil
	})
	w.write(c.Node("n2"), 3)
	w.whole(c)
}

// TestAClockThatJumps: the node it is on does not believe it, nor do those who
// are left alone with it; nothing else changes.
func TestAClockThatJumps(t *testing.T) {
	c := clustertest.Of(t, 3)
	w := &writer{t: t}
	believes := func(want map[string]bool) {
		t.Helper()
		for id, sure := range want {
			if err := c.Node(id).CheckClock(t.Context()); (err == nil) != sure {
				t.Errorf("%s believes its clock: %v", id, err)
			}
		}
	}
	believes(map[string]bool{"n1": true, "n2": true, "n3": true})
	leader := c.Leader()
	var others []string
	for _, id := range []string{"n1", "n2", "n3"} {
		if id != leader.ID {
			others = append(others, id)
		}
	}
	term := leader.Status().Term
	c.Jump(leader.ID, 31*24*time.Hour)
	believes(map[string]bool{leader.ID: false, others[0]: true, others[1]: true})
	for i := range 10 {
		if err := leader.Propose(t.Context(), w.batch(i)); err != nil {
			t.Error(err)
		}
	}
	if got, err := c.Node(others[0]).Read(t.Context(), consensus.Strong, 0); err != nil || got.Consistency != consensus.Strong {
		t.Errorf("%+v, %v", got, err)
	}
	if s := leader.Status(); s.Term != term || s.State != "leader" {
		t.Errorf("the lead changed hands: %+v", s)
	}
	c.Kill(others[1])
	believes(map[string]bool{leader.ID: false, others[0]: false})
	c.Jump(leader.ID, 0)
	believes(map[string]bool{leader.ID: true, others[0]: true})
}

func TestADelay(t *testing.T) {
	c := clustertest.Of(t, 3)
	for _, a := range c.Running() {
		for _, b := range c.Running() {
			if a < b {
				c.Net.Delay(a, b, 5*time.Millisecond)
			}
		}
	}
	w := &writer{t: t}
	w.write(c.Node("n3"), 5)
	w.whole(c)
}

func TestAllAreKilledAndStartedAgain(t *testing.T) {
	c := clustertest.Of(t, 3)
	w := &writer{t: t}
	for range 3 {
		w.write(c.Node("n2"), 5)
		for _, id := range c.Running() {
			c.Kill(id)
		}
		for _, id := range []string{"n3", "n1", "n2"} {
			c.Start(id)
		}
	}
	w.whole(c)
}

func TestMembership(t *testing.T) {
	c := clustertest.Of(t, 3)
	w := &writer{t: t}
	w.write(c.Node("n1"), 3)

	// A disk is gone: the name is not taken back with its vote.
	c.Kill("n3")
	c.Wipe("n3")
	c.Start("n3")
	w.write(c.Node("n1"), 3)
	client := c.Client("n1")
	c.Eventually("the newcomer is refused", func() bool { return len(c.Node("n3").Members()) == 0 })
	if err := client.Remove(t.Context(), "n3"); err != nil {
		t.Fatal(err)
	}
	c.Settled(3) // it is let in once the old one is out
	w.write(c.Node("n3"), 3)

	// The lead moves.
	to := c.Others(c.Leader().ID)[0].ID
	if err := client.Transfer(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	c.Eventually("the lead has moved", func() bool { return c.Node(to).Leads() })
	if err := client.Drain(t.Context(), to, true); err != nil {
		t.Fatal(err)
	}
	if !c.Node(to).Draining() || c.Leader(to).ID == to {
		t.Error("a node that drains leads")
	}
	if err := client.Drain(t.Context(), to, false); err != nil || c.Node(to).Draining() {
		t.Errorf("%v", err)
	}

	// One that was removed stays out until it is added.
	out := c.Others(c.Leader().ID)[0].ID
	if err := c.Client(c.Leader().ID).Remove(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	c.Kill(out)
	addr := c.Addr(out)
	n := c.Start(out)
	w.write(c.Leader(out), 3)
	if err := c.Client(c.Leader(out).ID).Add(t.Context(), peer.Node{ID: out, Addr: addr}); err != nil {
		t.Fatal(err)
	}
	c.Settled(3)
	w.write(n, 2)
	for _, err := range []error{
		client.Remove(t.Context(), "n9"), client.Transfer(t.Context(), "n9"), client.Drain(t.Context(), "n9", true),
	} {
		if !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("%v", err)
		}
	}
	all, err := client.Overview(t.Context())
	if err != nil || len(all) != 3 || all[2].ID != "n3" || all[0].Failing != "" {
		t.Errorf("%+v, %v", all, err)
	}
	w.whole(c)
}

// TestALostLogDoesNotVote: a member whose log is gone is no member until it is
// removed and has joined: with one that has all, it commits nothing.
func TestALostLogDoesNotVote(t *testing.T) {
	c := clustertest.Of(t, 3)
	w := &writer{t: t}
	w.write(c.Node("n1"), 3)
	for _, id := range []string{"n3", "n2"} {
		c.Kill(id)
	}
	c.Wipe("n3")
	c.Start("n3")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		if err := c.Node("n1").Propose(ctx, index.Batch{}); err == nil {
			t.Fatal("it gave the one that has all its vote")
		}
		if m := c.Node("n3").Members(); len(m) > 0 {
			t.Fatalf("it is told of the members %+v", m)
		}
	}
	c.Start("n2")
	c.Eventually("two of three commit", func() bool { return c.Node("n1").Propose(t.Context(), index.Batch{}) == nil })
	if m := c.Node("n3").Members(); len(m) > 0 {
		t.Errorf("it is told of the members %+v", m)
	}
	if err := c.Client("n1").Remove(t.Context(), "n3"); err != nil {
		t.Fatal(err)
	}
	c.Settled(3)
	w.write(c.Node("n3"), 3)
	w.whole(c)
}

// A data directory is its node's, and of its cluster.
func TestWhatIsNotOurs(t *testing.T) {
	c := clustertest.Of(t, 1)
	c.Eventually("there is a snapshot", func() bool { return c.Node("n1").Status().Snapshot > 0 })
	c.Kill("n1")
	if err := os.Rename(c.Dir("n1"), c.Dir("n2")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.TryStart("n2"); !errors.Is(err, storage.ErrConflict) {
		t.Errorf("n2 runs as n1: %v", err)
	}
	if err := os.Rename(c.Dir("n2"), c.Dir("n1")); err != nil {
		t.Fatal(err)
	}
	other := clustertest.Of(t, 1)
	other.Kill("n1")
	if err := os.RemoveAll(filepath.Join(c.Dir("n1"), "index.db")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other.IndexPath("n1"), c.IndexPath("n1")); err != nil {
		t.Fatal(err)
	}
	n := c.Start("n1") // it has an index of another cluster, and nobody to ask
	if _, err := n.Read(t.Context(), consensus.Fresh, 0); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("%v", err)
	}
}
