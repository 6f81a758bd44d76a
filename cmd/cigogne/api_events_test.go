package main

import (
	"strconv"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// TestAPIEvents: the feed tells what happens as it happens, in order and
// without gaps; who comes back goes on where it was, over gRPC and REST alike,
// also after the node was killed; and the timeline says the same of the study.
func TestAPIEvents(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	node := serve(t, dir, "--settle", "1ms")
	c := pb.NewEventsClient(dial(t, node))
	watch, err := c.Watch(t.Context(), &pb.EventsWatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	study := dicomtest.NewStudy(dicomtest.Options{Modality: "CT", Instances: 6})
	if !pushSTOW(t.Context(), node, newLedger(), study.Instances) {
		t.Fatal("push failed")
	}
	var seen []*pb.Event
	counts := map[pb.EventKind]int64{}
	for counts[pb.EventKind_EVENT_KIND_ARCHIVED] < 6 {
		m, err := watch.Recv()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range m.Events {
			if len(seen) > 0 && e.Sequence != seen[len(seen)-1].Sequence+1 {
				t.Errorf("after %d comes %d", seen[len(seen)-1].Sequence, e.Sequence)
			}
			if e.StudyInstanceUid != study.StudyInstanceUID || e.Kind == pb.EventKind_EVENT_KIND_RECEIVED && e.Origin.GetTransport() != "stow" {
				t.Errorf("%v", e)
			}
			seen = append(seen, e)
			counts[e.Kind] += e.Instances
		}
	}
	if counts[pb.EventKind_EVENT_KIND_RECEIVED] != 6 {
		t.Errorf("counts %v", counts)
	}
	apiTimeline(t, node, study)

	// A node that stops ends its streams, and one that was killed goes on with
	// the same feed.
	node.kill()
	if _, err := watch.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the stream of a node that was killed ends with %v", err)
	}
	node = serve(t, dir, "--settle", "1ms")
	list := &pb.EventsListResponse{}
	rest(t, node, "/v1/events?pageSize=1&afterSequence="+strconv.FormatInt(seen[0].Sequence, 10), list)
	if len(list.Events) != 1 || !proto.Equal(list.Events[0], seen[1]) {
		t.Errorf("REST goes on with %v, want %v", list.Events, seen[1])
	}
	_, err = pb.NewEventsClient(dial(t, node)).List(t.Context(), &pb.EventsListRequest{AfterSequence: 1})
	if status.Code(err) != codes.OutOfRange {
		t.Errorf("after what is gone: %v", err)
	}
	watch, err = pb.NewEventsClient(dial(t, node)).Watch(t.Context(), &pb.EventsWatchRequest{AfterSequence: seen[len(seen)-2].Sequence})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := watch.Recv(); err != nil || !proto.Equal(m.Events[0], seen[len(seen)-1]) {
		t.Errorf("going on gives %v (%v)", m, err)
	}
	node.stop() // at once, although the stream is open
	if _, err := watch.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the stream of a node that stops ends with %v", err)
	}
}

func apiTimeline(t *testing.T, node *process, study dicomtest.Study) {
	t.Helper()
	told := &pb.StudiesTimelineResponse{}
	rest(t, node, "/v1/studies/"+study.StudyInstanceUID+"/timeline", told)
	steps := map[pb.StepKind]*pb.Step{}
	for _, s := range told.Series {
		for _, step := range s.Steps {
			steps[step.Kind] = step
		}
	}
	received, durable, indexed, archived := steps[pb.StepKind_STEP_KIND_RECEIVED], steps[pb.StepKind_STEP_KIND_DURABLE],
		steps[pb.StepKind_STEP_KIND_INDEXED], steps[pb.StepKind_STEP_KIND_ARCHIVED]
	for _, timed := range []*pb.Step{received, durable, indexed, archived} {
		if timed.GetBytesPerSecond() <= 0 {
			t.Errorf("no throughput: %v", timed)
		}
	}
	if len(durable.GetNodes()) != 1 || durable.Nodes[0] != durable.Node {
		t.Errorf("durable on %v", durable.GetNodes())
	}
	if received.GetOrigin().GetId() == "" || archived.GetArchive() == "" || indexed.GetNode() == "" || durable.GetInstances() != received.GetInstances() {
		t.Fatalf("%v", told)
	}
	for _, later := range [][2]*pb.Step{{received, durable}, {durable, indexed}, {indexed, archived}} {
		if later[1].Last.AsTime().Before(later[0].Last.AsTime()) {
			t.Errorf("%v is before %v", later[1], later[0])
		}
	}
	in := study.Instances[0]
	one := &pb.StudiesInstanceTimelineResponse{}
	rest(t, node, "/v1/studies/"+in.StudyInstanceUID+"/series/"+in.SeriesInstanceUID+"/instances/"+in.SOPInstanceUID+"/timeline", one)
	if len(one.Steps) < 4 || one.Steps[0].Kind != pb.StepKind_STEP_KIND_RECEIVED || one.Steps[1].GetArchive() == "" {
		t.Errorf("%v", one)
	}
}
