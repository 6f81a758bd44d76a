package clustertest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/consensus"
	"github.com/esante-alsace/cigogne/consensus/clustertest"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

func TestTheLeaderIsCutOff(t *testing.T) {
	c := clustertest.Of(t, 3)
	w := &writer{t: t}
	w.write(c.Node("n2"), 3)
	old := c.Leader()
	c.Net.Isolate(old.ID)
	c.Leader(old.ID)
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
	c.Eventually("it reads what is new enough", func() bool {
		r, err := away.Read(t.Context(), consensus.Bounded, 0)
		if err == nil && (r.Consistency != consensus.Bounded || r.Age > c.Staleness) {
			t.Errorf("%+v", r)
		}
		return err == nil
	})
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
