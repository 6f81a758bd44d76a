package rpc

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
)

// Node tells how the node fares.
type Node interface {
	// Name is what the node is called in what it notes.
	Name() string
	// Checks are made anew, or are some seconds old.
	Checks(ctx context.Context) []Check
	Status(ctx context.Context) (*pb.NodeStatus, error)
	// Archives describes them in the order of preference.
	Archives(ctx context.Context) []*pb.Archive
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

// Health implements pb.NodesServer.
func (n *nodes) Health(ctx context.Context, req *pb.NodesHealthRequest) (*pb.NodesHealthResponse, error) {
	answer := &pb.NodesHealthResponse{Ready: true}
	for _, c := range n.node.Checks(ctx) {
		check := &pb.Check{Name: c.Name, State: pb.CheckState_CHECK_STATE_WELL, Since: timestamppb.New(c.Since), SeenBy: n.node.Name()}
		if c.Err != nil {
			answer.Ready = false
			check.State, check.Why = pb.CheckState_CHECK_STATE_FAILING, c.Err.Error()
			check.Action = action(c.Name, c.Err, req.Language)
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

// archives is the service Archives.
type archives struct {
	pb.UnimplementedArchivesServer
	node Node
}

// List implements pb.ArchivesServer.
func (a *archives) List(ctx context.Context, _ *pb.ArchivesListRequest) (*pb.ArchivesListResponse, error) {
	return &pb.ArchivesListResponse{Archives: a.node.Archives(ctx)}, nil
}
