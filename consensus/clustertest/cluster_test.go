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
