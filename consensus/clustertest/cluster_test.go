package clustertest_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/consensus"
	"github.com/esante-alsace/cigogne/consensus/clustertest"
	"github.com/esante-alsace/cigogne/storage"
)

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
		propose(t, c.Node(ids[i%3]), b)
		for _, id := range ids {
			readStrongly(t, c, c.Node(id), consensus.Fresh)
			if !has(t, c.Node(id), b) {
				t.Fatalf("study %d was proposed to %s and is not read at %s", i, ids[i%3], id)
			}
		}
	}
}

// TestAClockThatJumps: the node it is on does not believe it, nor do those who
// are left alone with it; nothing else changes.
func TestAClockThatJumps(t *testing.T) {
	c := clustertest.Of(t, 3)
	w := &writer{t: t}
	believe := func(ids ...string) {
		t.Helper()
		for _, id := range ids { // those who are asked have a second, and may need more
			c.Eventually(id+" believes its clock", func() bool { return c.Node(id).CheckClock(t.Context()) == nil })
		}
	}
	doubt := func(ids ...string) {
		t.Helper()
		for _, id := range ids {
			if err := c.Node(id).CheckClock(t.Context()); !errors.Is(err, storage.ErrUnavailable) {
				t.Errorf("%s believes its clock: %v", id, err)
			}
		}
	}
	believe("n1", "n2", "n3")
	var jumped *clustertest.Node
	// On a busy machine the lead changes hands for other reasons, too.
	c.Eventually("the lead stays where the clock jumps", func() bool {
		if jumped != nil {
			c.Jump(jumped.ID, 0)
		}
		jumped = c.Leader()
		term := jumped.Status().Term
		c.Jump(jumped.ID, 31*24*time.Hour)
		w.write(jumped, 10)
		s := jumped.Status()
		return s.Term == term && s.State == "leader"
	})
	others := c.Others(jumped.ID)
	doubt(jumped.ID)
	believe(others[0].ID, others[1].ID)
	readStrongly(t, c, others[0], consensus.Strong)
	c.Kill(others[1].ID)
	doubt(jumped.ID, others[0].ID)
	c.Jump(jumped.ID, 0)
	believe(jumped.ID, others[0].ID)
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
