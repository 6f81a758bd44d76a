package consensus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/hashicorp/raft"

	"github.com/esante-alsace/cigogne/consensus/peer"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// Member is a node that belongs to the cluster.
type Member struct {
	ID    string `json:"id"`
	Addr  string `json:"addr"`
	Voter bool   `json:"voter"` // one that has caught up and counts
}

// Node is the member as the peer port finds it.
func (m Member) Node() peer.Node { return peer.Node{ID: m.ID, Addr: m.Addr} }

// Members lists the nodes of the cluster as far as this one knows, in the
// order in which they came.
func (n *Node) Members() []Member {
	if n.raft == nil {
		return nil
	}
	var out []Member
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		out = append(out, Member{ID: string(s.ID), Addr: string(s.Address), Voter: s.Suffrage == raft.Voter})
	}
	return out
}

func (n *Node) member(id string) (Member, bool) {
	for _, m := range n.Members() {
		if m.ID == id {
			return m, true
		}
	}
	return Member{}, false
}

// idOf names the node at an address, or is "".
func (n *Node) idOf(addr string) string {
	for _, m := range n.Members() {
		if m.Addr == addr {
			return m.ID
		}
	}
	return ""
}

// Leader is the node that leads as far as this one knows.
func (n *Node) Leader() (Member, bool) {
	addr, id := n.raft.LeaderWithID()
	return Member{ID: string(id), Addr: string(addr), Voter: true}, id != ""
}

// joinRequest asks the leader to let a node in.
type joinRequest struct {
	ID   string `json:"id"`
	Addr string `json:"addr"`
	// New: it has no log. A member with a vote that has lost its log must not
	// come back under its name: it would have forgotten what it voted for.
	New bool `json:"new"`
	// Revoke: the certificates that a node has until it is removed are refused
	// from then on.
	Revoke bool `json:"revoke,omitempty"`
}

func (r joinRequest) validate() error {
	if host, _, err := net.SplitHostPort(r.Addr); err != nil || host == "" || !peer.ValidName(r.ID) {
		return fmt.Errorf("%w: node %q at %q", storage.ErrInvalid, r.ID, r.Addr)
	}
	return nil
}

// admit lets a node in, as the leader.
func (n *Node) admit(r joinRequest) error {
	if err := r.validate(); err != nil {
		return err
	}
	if !n.Leads() || !n.seeded.Load() {
		return fmt.Errorf("%w: node %s cannot let anyone in yet", storage.ErrUnavailable, n.o.ID)
	}
	m, known := n.member(r.ID)
	var err error
	switch {
	case known && m.Voter && r.New:
		return fmt.Errorf("%w: node %s is a member and votes, but its log is gone: 'cigogne cluster remove %s' first", storage.ErrConflict, r.ID, r.ID)
	case known && m.Addr == r.Addr:
		return nil
	case known && m.Voter:
		err = n.raft.AddVoter(raft.ServerID(r.ID), raft.ServerAddress(r.Addr), 0, ioTimeout).Error()
	case !known && !r.New:
		return fmt.Errorf("%w: node %s is no member any more: 'cigogne cluster add %s %s' takes it in again", storage.ErrForbidden, r.ID, r.ID, r.Addr)
	default:
		err = n.raft.AddNonvoter(raft.ServerID(r.ID), raft.ServerAddress(r.Addr), 0, ioTimeout).Error()
	}
	return n.changed(err, "a node joined", r.ID)
}

// add lets a node in that an operator names, whether it has a log or not.
// Its certificates are good again, whenever they were made.
func (n *Node) add(r joinRequest) error {
	if err := r.validate(); err != nil {
		return err
	}
	if _, known := n.member(r.ID); known {
		return fmt.Errorf("%w: node %s is a member already", storage.ErrConflict, r.ID)
	}
	if err := n.Propose(n.ctx, index.Batch{Refusals: []index.Refusal{{Node: r.ID}}}); err != nil {
		return err
	}
	r.New = true
	return n.admit(r)
}

// remove takes a node out, as the leader. The certificates of one that is out
// already can be revoked, too.
func (n *Node) remove(r joinRequest) error {
	_, known := n.member(r.ID)
	if !known && (!r.Revoke || !peer.ValidName(r.ID)) {
		return fmt.Errorf("%w: no node %s", storage.ErrNotFound, r.ID)
	}
	if known {
		if err := n.takeOut(r.ID); err != nil {
			return err
		}
	}
	if !r.Revoke {
		return nil
	}
	return n.Propose(n.ctx, index.Batch{Refusals: []index.Refusal{{Node: r.ID, Before: n.o.Now().Unix()}}})
}

func (n *Node) takeOut(id string) error {
	voters := 0
	for _, m := range n.Members() {
		if m.Voter && m.ID != id {
			voters++
		}
	}
	if voters == 0 {
		return fmt.Errorf("%w: %s is the only node that votes", storage.ErrConflict, id)
	}
	return n.changed(n.raft.RemoveServer(raft.ServerID(id), 0, ioTimeout).Error(), "a node was removed", id)
}

func (n *Node) changed(err error, what, id string) error {
	if err != nil {
		return fmt.Errorf("%w: raft: %w", storage.ErrUnavailable, err)
	}
	n.log.Info(what, "node", id)
	return nil
}

const (
	// joinEvery is how long a node waits before it asks again to be let in.
	joinEvery = 500 * time.Millisecond
	// joinTimeout bounds one try.
	joinTimeout = 15 * time.Second
)

// introduce asks to be let in, when the node is new, and tells its address
// when that has changed.
func (n *Node) introduce(ctx context.Context) {
	said := ""
	for {
		err := n.introduced(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		if said != err.Error() {
			said = err.Error()
			n.log.Warn("the node is not let into the cluster, will ask again", "error", err)
		}
		if pause(ctx, joinEvery) != nil {
			return
		}
	}
}

func (n *Node) introduced(ctx context.Context) error {
	if n.found {
		m, known := n.member(n.o.ID)
		if !known || m.Addr == n.o.Advertise {
			return nil // not known: it was removed, or is about to hear that it is a member
		}
		if n.Leads() {
			return n.admit(joinRequest{ID: n.o.ID, Addr: n.o.Advertise})
		}
	}
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	ask := n.o.Join
	for _, m := range n.Members() {
		if m.ID != n.o.ID {
			ask = append(ask, m.Addr)
		}
	}
	errs := []error{errNoLeader}
	for _, addr := range ask {
		err := n.join(ctx, peer.Node{Addr: addr})
		if err == nil {
			n.admitted.Store(true)
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// join asks a node to be let into its cluster.
func (n *Node) join(ctx context.Context, at peer.Node) error {
	s, err := n.statusOf(ctx, Member{Addr: at.Addr})
	if err != nil {
		return err
	}
	switch own := n.cluster(); {
	case s.Cluster == "":
		return fmt.Errorf("%w: node %s is in no cluster yet", storage.ErrUnavailable, s.ID)
	case own != "" && own != s.Cluster:
		return fmt.Errorf("%w: node %s is of another cluster than this one was", storage.ErrConflict, s.ID)
	case own == "":
		// Before anything of the cluster's lies here it must be known whose it is.
		if err := n.belong(s.Cluster); err != nil {
			return err
		}
	}
	return n.call(ctx, at, "join", joinRequest{ID: n.o.ID, Addr: n.o.Advertise, New: !n.found}, nil)
}
