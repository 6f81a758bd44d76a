package clustertest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/consensus/clustertest"
	"github.com/esante-alsace/cigogne/consensus/peer"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

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
