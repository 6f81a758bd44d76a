package main

import (
	"context"
	"fmt"

	"github.com/esante-alsace/cigogne/consensus"
	"github.com/esante-alsace/cigogne/consensus/peer"
	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
	"github.com/esante-alsace/cigogne/storage"
)

// Nodes implements rpc.Node.
func (r *report) Nodes(ctx context.Context) ([]*pb.Node, error) {
	if r.cluster == nil {
		return []*pb.Node{{NodeId: r.Name(), Reachable: true, Leads: true, Leader: r.Name(), Voter: true}}, nil
	}
	var all []*pb.Node
	members := map[string]consensus.Member{}
	for _, m := range r.cluster.Members() {
		members[m.ID] = m
	}
	for _, s := range r.cluster.Overview(ctx) {
		m := members[s.ID]
		all = append(all, &pb.Node{
			NodeId: s.ID, Address: m.Addr, Voter: m.Voter,
			Reachable: s.State != "unreachable", Why: s.Failing, Leads: s.State == "leader", Leader: s.Leader,
			Term: s.Term, Committed: s.Commit, Applied: s.Applied, SecondsSinceLeader: s.Heard, Draining: s.Draining,
		})
	}
	return all, nil
}

// self asks this node on its peer port, which hands on what is another's.
func (r *report) self() (consensus.Client, error) {
	if r.cluster == nil {
		return consensus.Client{}, fmt.Errorf("%w: the node stands alone", storage.ErrUnsupported)
	}
	return consensus.Client{Dialer: r.cluster.dialer, Node: peer.Node{ID: r.config.NodeID, Addr: r.config.advertised()}}, nil
}

// Drain implements rpc.Node.
func (r *report) Drain(ctx context.Context, node string, on bool) error {
	c, err := r.self()
	if err != nil {
		return err
	}
	return c.Drain(ctx, node, on)
}

// TransferLeadership implements rpc.Node.
func (r *report) TransferLeadership(ctx context.Context, node string) error {
	c, err := r.self()
	if err != nil {
		return err
	}
	return c.Transfer(ctx, node)
}
