package clustertest_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/consensus"
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
	remove(t, c, client, "n3")
	c.Settled(3) // it is let in once the old one is out
	w.write(c.Node("n3"), 3)

	// The lead moves.
	to := c.Others(c.Leader().ID)[0].ID
	c.Eventually("the lead moves", func() bool {
		return c.Node(to).Leads() || accepted(t, client.Transfer(t.Context(), to)) && c.Node(to).Leads()
	})
	c.Eventually("it drains", func() bool { return accepted(t, client.Drain(t.Context(), to, true)) })
	if !c.Node(to).Draining() {
		t.Error("it does not say that it drains")
	}
	c.Leader(to) // it has handed the lead over
	c.Eventually("it drains no more", func() bool { return accepted(t, client.Drain(t.Context(), to, false)) })
	if c.Node(to).Draining() {
		t.Error("it says that it still drains")
	}

	// One that was removed stays out until it is added.
	out := c.Others(c.Leader().ID)[0].ID
	remove(t, c, c.Client(c.Leader().ID), out)
	c.Kill(out)
	addr := c.Addr(out)
	n := c.Start(out)
	w.write(c.Leader(out), 3)
	c.Eventually("it is added", func() bool {
		err := c.Client(c.Leader(out).ID).Add(t.Context(), peer.Node{ID: out, Addr: addr})
		return errors.Is(err, storage.ErrConflict) || accepted(t, err) // the try before may have come through
	})
	c.Settled(3)
	w.write(n, 2)
	for what, ask := range map[string]func() error{
		"remove":   func() error { return client.Remove(t.Context(), "n9") },
		"transfer": func() error { return client.Transfer(t.Context(), "n9") },
		"drain":    func() error { return client.Drain(t.Context(), "n9", true) },
	} {
		c.Eventually(what+": there is no n9", func() bool {
			err := ask()
			if !errors.Is(err, storage.ErrNotFound) && !errors.Is(err, storage.ErrUnavailable) {
				t.Fatal(err)
			}
			return errors.Is(err, storage.ErrNotFound)
		})
	}
	c.Eventually("who leads is made to lead", func() bool {
		return accepted(t, client.Transfer(t.Context(), c.Leader().ID))
	})
	c.Eventually("all say how they are", func() bool {
		all, err := client.Overview(t.Context())
		return err == nil && len(all) == 3 && all[2].ID == "n3" && all[0].Failing == ""
	})
	w.whole(c)
}

// remove returns once a node is out.
func remove(t *testing.T, c *clustertest.Cluster, client consensus.Client, id string) {
	t.Helper()
	c.Eventually(id+" is removed", func() bool {
		err := client.Remove(t.Context(), id)
		return errors.Is(err, storage.ErrNotFound) || accepted(t, err) // the try before may have come through
	})
}

// accepted tells whether the cluster did what an operator asked; it fails the
// test unless asking again may help.
func accepted(t *testing.T, err error) bool {
	t.Helper()
	if err != nil && !errors.Is(err, storage.ErrUnavailable) {
		t.Fatal(err)
	}
	return err == nil
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
	remove(t, c, c.Client("n1"), "n3")
	c.Settled(3)
	w.write(c.Node("n3"), 3)
	w.whole(c)
}

// TestALoneNode: one that has heard of no other yet says so, not since how many
// years.
func TestALoneNode(t *testing.T) {
	c := clustertest.Of(t, 3)
	for _, id := range []string{"n1", "n2", "n3"} {
		c.Kill(id)
	}
	_, err := c.Start("n2").Read(t.Context(), consensus.Bounded, 0)
	if !errors.Is(err, storage.ErrUnavailable) || !strings.Contains(err.Error(), "since it started") {
		t.Error(err)
	}
}
