package consensus

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

const (
	// caughtUp is how many entries a newcomer may be behind to get a vote.
	caughtUp = 64
	// lookTimeout bounds how long a node may take to say how it is.
	lookTimeout = time.Second
)

// watchLeader tells when the leader changes.
func (n *Node) watchLeader(ctx context.Context) {
	c := make(chan raft.Observation, 16)
	o := raft.NewObserver(c, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	n.raft.RegisterObserver(o)
	defer n.raft.DeregisterObserver(o)
	for {
		select {
		case <-ctx.Done():
			return
		case <-c:
			n.elected.fire()
			if _, id := n.raft.LeaderWithID(); id != "" {
				n.log.Info("the cluster has a leader", "leader", string(id), "term", n.raft.CurrentTerm())
			}
		}
	}
}

// lead does the leader's work whenever this node is it.
func (n *Node) lead(ctx context.Context) {
	for {
		term := n.raft.CurrentTerm()
		if n.raft.State() == raft.Leader && n.raft.CurrentTerm() == term {
			n.reign(ctx, term)
		}
		// LeaderCh tells of most changes; one that it drops is met by looking.
		t := time.NewTimer(n.o.Timing.Election)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-n.raft.LeaderCh():
		case <-t.C:
		}
		t.Stop()
	}
}

// reign leads in a term, until that has passed.
func (n *Node) reign(ctx context.Context, term uint64) {
	// Once the index has all that earlier leaders committed, this one can say
	// what was.
	if err := n.raft.Barrier(ioTimeout).Error(); err != nil {
		return
	}
	n.term.Store(term)
	defer n.term.Store(0)
	n.elected.fire()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for n.leads(term) && ctx.Err() == nil {
		if !n.seeded.Load() {
			err := n.seed(ctx)
			if n.seeded.Store(err == nil); err != nil {
				n.log.Warn("no newcomer can be let in yet", "error", err)
			}
		}
		n.look(ctx)
		n.promote()
		t := time.NewTimer(n.o.Timing.Look)
		select {
		case <-ctx.Done():
		case <-n.elected.next():
		case <-t.C:
		}
		t.Stop()
	}
}

func (n *Node) leads(term uint64) bool {
	return n.raft.State() == raft.Leader && n.raft.CurrentTerm() == term
}

// Leads tells whether this node leads, and is ready to.
func (n *Node) Leads() bool {
	term := n.term.Load()
	return term != 0 && n.leads(term)
}

// seed makes the first snapshot, and keeps no log before it: what the index
// held before there was a cluster is in no log, so that nobody may begin with
// one.
func (n *Node) seed(ctx context.Context) error {
	first, err := n.wal.FirstIndex()
	if err != nil || first != 1 && n.snapshots.content() > 0 {
		return err
	}
	entry, err := encodeEntry(index.Batch{})
	if err != nil {
		return err
	}
	if _, err := n.append(ctx, entry); err != nil {
		return err
	}
	reload := n.raft.ReloadableConfig()
	reload.TrailingLogs = 0
	if err := n.raft.ReloadConfig(reload); err != nil {
		return err
	}
	err = n.raft.Snapshot().Error()
	reload.TrailingLogs = n.o.Timing.Trailing
	if rerr := n.raft.ReloadConfig(reload); err == nil {
		err = rerr
	}
	return err
}

// look asks every other node how it is.
func (n *Node) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	var asked sync.WaitGroup
	defer asked.Wait()
	for _, m := range n.Members() {
		if m.ID == n.o.ID {
			continue
		}
		asked.Go(func() {
			if s, err := n.statusOf(ctx, m); err == nil {
				n.seen.note(m.ID, sighting{applied: s.Applied, log: s.LastLog})
			}
		})
	}
}

// spared is the last entry that no node which is there needs any more. One
// that is sent a copy of the index needs all that comes meanwhile: if that were
// cut, it would need another copy, and never catch up under load.
func (n *Node) spared() uint64 {
	spared := uint64(math.MaxUint64)
	for _, m := range n.Members() {
		if has, ok := n.seen.has(m.ID); ok {
			spared = min(spared, has)
		}
	}
	return spared
}

// promote gives a vote to those who have caught up.
func (n *Node) promote() {
	if !n.Leads() {
		return
	}
	// One that has less than the snapshot still waits for its copy.
	least, applied := n.snapshots.content(), n.machine.position()
	for _, m := range n.Members() {
		if m.Voter || !n.seen.reached(m.ID, least, applied) {
			continue
		}
		err := n.raft.AddVoter(raft.ServerID(m.ID), raft.ServerAddress(m.Addr), 0, ioTimeout).Error()
		if err != nil {
			n.log.Warn("a node could not be given its vote", "node", m.ID, "error", err)
			continue
		}
		n.log.Info("a node has caught up and votes now", "node", m.ID)
	}
}

// Unseen tells for how long the leader has not heard of each other node. It is
// storage.ErrUnavailable unless this node leads.
func (n *Node) Unseen() (map[string]time.Duration, error) {
	if !n.Leads() {
		return nil, fmt.Errorf("%w: node %s does not lead", storage.ErrUnavailable, n.o.ID)
	}
	unseen := map[string]time.Duration{}
	for _, m := range n.Members() {
		if m.ID != n.o.ID {
			unseen[m.ID] = n.seen.ago(m.ID)
		}
	}
	return unseen, nil
}

// sightings are when each node was last heard of.
type sightings struct {
	mu sync.Mutex
	at map[string]sighting
}

type sighting struct {
	when    time.Time
	applied uint64
	log     uint64 // the last entry of its log
}

// note keeps how a node is now.
func (s *sightings) note(id string, now sighting) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at == nil {
		s.at = map[string]sighting{}
	}
	now.when = time.Now()
	s.at[id] = now
}

// has is the last entry of the log of a node that was there a moment ago.
func (s *sightings) has(id string) (uint64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.at[id]
	return at.log, ok && time.Since(at.when) < 2*lookTimeout
}

// reached tells whether the node had, a moment ago, at least what it must and
// was near enough to applied.
func (s *sightings) reached(id string, least, applied uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.at[id]
	return ok && time.Since(at.when) < 2*lookTimeout && at.applied >= least && at.applied+caughtUp >= applied
}

// ago begins to count when a node is asked for first.
func (s *sightings) ago(id string) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.at[id]
	if !ok {
		if s.at == nil {
			s.at = map[string]sighting{}
		}
		at = sighting{when: time.Now()}
		s.at[id] = at
	}
	return time.Since(at.when)
}
