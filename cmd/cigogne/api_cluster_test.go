package main

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
)

// TestAPICluster: every node tells the same events under the same numbers, so
// that who watched one that died goes on at another and misses nothing; the
// nodes are listed, drained and led over the API, and one that is dead is said
// to be.
func TestAPICluster(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	ids := []string{"n1", "n2", "n3"}
	for _, id := range ids {
		r.start(id, "--feed-events", "1000")
	}
	r.voting()
	files := synthesized(t, 6)
	for i, f := range files[:4] {
		if code := stowFile(t, r.nodes[ids[i%3]], f); code != http.StatusOK {
			t.Fatalf("STOW-RS at %s: %d", ids[i%3], code)
		}
	}
	r.observed()
	r.heldByTwo("n2")
	watch, err := pb.NewEventsClient(dial(t, r.nodes["n3"])).Watch(t.Context(), &pb.EventsWatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var seen []*pb.Event
	for len(seen) < 4 {
		m, err := watch.Recv()
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, m.Events...)
	}
	if seen[0].Node != "n1" || seen[1].Node != "n2" {
		t.Errorf("who proposed: %v", seen)
	}

	lead := pb.NewNodesClient(dial(t, r.nodes["n1"]))
	leader := func() (id string, all []*pb.Node) {
		answer, err := lead.List(t.Context(), &pb.NodesListRequest{})
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range answer.Nodes {
			if n.Leads {
				id = n.NodeId
			}
		}
		return id, answer.Nodes
	}
	if _, err := lead.TransferLeadership(t.Context(), &pb.NodesTransferLeadershipRequest{NodeId: "n2"}); err != nil {
		t.Error(err)
	}
	r.nodes["n1"].eventually("n2 leads", func() bool { id, _ := leader(); return id == "n2" })
	if _, err := lead.Drain(t.Context(), &pb.NodesDrainRequest{NodeId: "n2"}); err != nil {
		t.Error(err)
	}
	r.nodes["n1"].eventually("another leads", func() bool {
		id, all := leader()
		return id != "" && id != "n2" && len(all) == 3 && all[1].Draining && all[1].Voter
	})
	if _, err := lead.Drain(t.Context(), &pb.NodesDrainRequest{NodeId: "n2", End: true}); err != nil {
		t.Error(err)
	}

	r.nodes["n3"].kill()
	r.nodes["n1"].eventually("n3 is said to be dead", func() bool {
		id, all := leader()
		return id != "" && id != "n3" && !all[2].Reachable && all[2].Why != ""
	})
	r.nodes["n1"].eventually("it stores", func() bool { return stowFile(t, r.nodes["n1"], files[4]) == http.StatusOK })
	next, err := pb.NewEventsClient(dial(t, r.nodes["n2"])).Watch(t.Context(), &pb.EventsWatchRequest{AfterSequence: seen[1].Sequence})
	if err != nil {
		t.Fatal(err)
	}
	var more []*pb.Event
	for len(more) < 3 {
		m, err := next.Recv()
		if err != nil {
			t.Fatal(err)
		}
		more = append(more, m.Events...)
	}
	if !proto.Equal(more[0], seen[2]) || !proto.Equal(more[1], seen[3]) || more[2].Sequence != seen[3].Sequence+1 {
		t.Errorf("n2 goes on with %v\nn3 had %v", more, seen)
	}
}

// TestAPIAlone: a node that stands alone lists itself, and has nothing to hand
// over.
func TestAPIAlone(t *testing.T) {
	t.Parallel()
	c := pb.NewNodesClient(dial(t, serve(t, t.TempDir())))
	all, err := c.List(t.Context(), &pb.NodesListRequest{})
	if err != nil || len(all.Nodes) != 1 || !all.Nodes[0].Leads || all.Nodes[0].NodeId == "" {
		t.Errorf("%v, %v", all, err)
	}
	if _, err := c.Drain(t.Context(), &pb.NodesDrainRequest{NodeId: all.Nodes[0].NodeId}); status.Code(err) != codes.Unimplemented {
		t.Errorf("drain: %v", err)
	}
}

// observed: the leader sees the others, and every node its own certificate.
func (r *cohort) observed() {
	r.t.Helper()
	lead := r.leader("n1")
	for id, p := range r.nodes {
		got := measured(r.t, p)
		if until := got[`cigogne_certificate_expiry_timestamp_seconds{certificate="peer"}`]; until < float64(time.Now().Unix()) {
			r.t.Errorf("%s: the certificate ends at %v", id, until)
		}
		if got["cigogne_cluster_apply_duration_seconds_count"] == 0 || got[`cigogne_step_duration_seconds_count{step="copies"}`] == 0 {
			r.t.Errorf("%s has not measured what it did", id)
		}
		if _, ok := got[`cigogne_queue_age_seconds{queue="copies"}`]; !ok {
			r.t.Errorf("%s does not tell of its copies", id)
		}
		for other := range r.nodes {
			series := `{node="` + other + `"}`
			if up := got["cigogne_cluster_node_reachable"+series]; other != id && up != 1 {
				r.t.Errorf("%s sees %s: %v", id, other, up)
			}
			if _, ok := got["cigogne_cluster_node_lag_entries"+series]; ok != (id == lead && other != id) {
				r.t.Errorf("%s tells how far %s is behind: %v; %s leads", id, other, ok, lead)
			}
		}
	}
}

// heldByTwo: the timeline names the two nodes on which each instance was
// durable, the one that received it among them.
func (r *cohort) heldByTwo(asked string) {
	r.t.Helper()
	node := r.nodes[asked]
	found, err := search(r.t.Context(), node.web, "studies", nil)
	if err != nil || len(found) == 0 {
		r.t.Fatalf("%v, %v", found, err)
	}
	steps := 0
	for _, study := range found {
		told := &pb.StudiesTimelineResponse{}
		rest(r.t, node, "/v1/studies/"+uidOf(study)+"/timeline", told)
		for _, s := range told.Series {
			for _, step := range s.Steps {
				if step.Kind != pb.StepKind_STEP_KIND_DURABLE {
					continue
				}
				if steps++; len(step.Nodes) < 2 || !slices.Contains(step.Nodes, step.Node) {
					r.t.Errorf("durable on %v, by %s", step.Nodes, step.Node)
				}
			}
		}
	}
	if steps == 0 {
		r.t.Error("nothing was durable")
	}
}
