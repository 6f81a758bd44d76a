package consensus

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"
)

// Status is how a node is.
type Status struct {
	ID       string `json:"id"`
	Cluster  string `json:"cluster"`
	State    string `json:"state"` // leader, follower, candidate
	Leader   string `json:"leader"`
	Term     uint64 `json:"term"`
	Commit   uint64 `json:"commit"`   // the last entry that it knows to be committed
	Applied  uint64 `json:"applied"`  // the last that its index has
	Snapshot uint64 `json:"snapshot"` // the entry that its snapshot stands for
	FirstLog uint64 `json:"firstLog"`
	LastLog  uint64 `json:"lastLog"`
	// Now is what its clock says, zero for a node that does not answer.
	Now time.Time `json:"now,omitzero"`
	// Heard is how long ago it heard of the leader, in seconds.
	Heard    float64  `json:"heard"`
	Draining bool     `json:"draining"`
	Failing  string   `json:"failing,omitempty"`
	Members  []Member `json:"members"`
	// Detail is what the node's other parts say.
	Detail json.RawMessage `json:"detail,omitempty"`
}

// Status is how this node is now.
func (n *Node) Status() Status {
	s := Status{
		ID: n.o.ID, Now: n.o.Now(), Cluster: n.cluster(), Draining: n.draining.Load(),
		State: strings.ToLower(n.raft.State().String()), Term: n.raft.CurrentTerm(),
		Commit: n.raft.CommitIndex(), Applied: n.machine.position(), LastLog: n.raft.LastIndex(),
		Members: n.Members(),
	}
	if l, ok := n.Leader(); ok {
		s.Leader = l.ID
	}
	if age := n.Age(); age < time.Hour*24*365 {
		s.Heard = age.Seconds()
	}
	if err := n.machine.unsound(); err != nil {
		s.Failing = err.Error()
	}
	if metas, err := n.snapshots.List(); err == nil && len(metas) > 0 {
		s.Snapshot = metas[0].Index
	}
	if first, err := n.wal.FirstIndex(); err == nil {
		s.FirstLog = first
	}
	if n.o.Detail != nil {
		if b, err := json.Marshal(n.o.Detail()); err == nil {
			s.Detail = b
		}
	}
	return s
}

// Failing is why the index here does not take what the cluster decides, or
// nil.
func (n *Node) Failing() error { return n.machine.unsound() }

// Overview is how all nodes are, as far as they answer within a second; the
// others have a Status with Failing alone. The order is that of their ids.
func (n *Node) Overview(ctx context.Context) []Status {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	members := n.Members()
	out := make([]Status, len(members))
	var asked sync.WaitGroup
	for i, m := range members {
		asked.Go(func() {
			if m.ID == n.o.ID {
				out[i] = n.Status()
				return
			}
			s, err := n.statusOf(ctx, m)
			if err != nil {
				s = Status{ID: m.ID, State: "unreachable", Failing: err.Error()}
			}
			out[i] = s
		})
	}
	asked.Wait()
	slices.SortFunc(out, func(a, b Status) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// Draining tells whether the node is to take nothing new.
func (n *Node) Draining() bool { return n.draining.Load() }

// Drain begins or ends draining. A node that drains hands the lead over.
func (n *Node) Drain(on bool) error {
	n.draining.Store(on)
	if !on {
		return nil
	}
	return n.Resign()
}
