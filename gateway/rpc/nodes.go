package rpc

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esante-alsace/cigogne/gateway"
	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
)

// Node tells how the node fares.
type Node interface {
	// Name is what the node is called in what it notes.
	Name() string
	// Checks are made anew, or are some seconds old.
	Checks(ctx context.Context) []Check
	Status(ctx context.Context) (*pb.NodeStatus, error)
	// Nodes describes those of the cluster.
	Nodes(ctx context.Context) ([]*pb.Node, error)
	// Drain lets a node take nothing new, or again.
	Drain(ctx context.Context, node string, on bool) error
	// TransferLeadership makes another node lead: the one named, or any.
	TransferLeadership(ctx context.Context, node string) error
	// Archives describes them in the order of preference.
	Archives(ctx context.Context) []*pb.Archive
	// Verify verifies packs, and calls tell from one goroutine with what was
	// found since it did so before; an error of it ends the verification.
	Verify(ctx context.Context, v Verify, tell func([]gateway.Finding, gateway.Verified) error) error
}

// Verify says what to verify and how.
type Verify struct {
	StudyInstanceUID string // empty for all
	Rate             int64  // bytes a second; 0 for no bound
	Repair           bool
}

// Check is one thing that was checked.
type Check struct {
	Name string
	// Err is why it is not well, or nil.
	Err   error
	Since time.Time
}

// nodes is the service Nodes.
type nodes struct {
	pb.UnimplementedNodesServer
	node Node
}

// List implements pb.NodesServer.
func (n *nodes) List(ctx context.Context, _ *pb.NodesListRequest) (*pb.NodesListResponse, error) {
	all, err := n.node.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	return &pb.NodesListResponse{Nodes: all}, nil
}

// Drain implements pb.NodesServer.
func (n *nodes) Drain(ctx context.Context, req *pb.NodesDrainRequest) (*pb.NodesDrainResponse, error) {
	if err := n.node.Drain(ctx, req.NodeId, !req.End); err != nil {
		return nil, err
	}
	return &pb.NodesDrainResponse{}, nil
}

// TransferLeadership implements pb.NodesServer.
func (n *nodes) TransferLeadership(ctx context.Context, req *pb.NodesTransferLeadershipRequest) (*pb.NodesTransferLeadershipResponse, error) {
	if err := n.node.TransferLeadership(ctx, req.NodeId); err != nil {
		return nil, err
	}
	return &pb.NodesTransferLeadershipResponse{}, nil
}

// Health implements pb.NodesServer.
func (n *nodes) Health(ctx context.Context, req *pb.NodesHealthRequest) (*pb.NodesHealthResponse, error) {
	answer := &pb.NodesHealthResponse{Ready: true}
	for _, c := range n.node.Checks(ctx) {
		check := &pb.Check{Name: c.Name, State: pb.CheckState_CHECK_STATE_WELL, Since: timestamppb.New(c.Since), SeenBy: n.node.Name()}
		if c.Err != nil {
			answer.Ready = false
			check.State, check.Why = pb.CheckState_CHECK_STATE_FAILING, text(c.Err.Error())
			check.Action = Action(c.Name, c.Err, req.Language)
		}
		answer.Checks = append(answer.Checks, check)
	}
	return answer, nil
}

// Status implements pb.NodesServer.
func (n *nodes) Status(ctx context.Context, _ *pb.NodesStatusRequest) (*pb.NodesStatusResponse, error) {
	status, err := n.node.Status(ctx)
	if err != nil {
		return nil, err
	}
	return &pb.NodesStatusResponse{Node: status}, nil
}
