package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// dial connects a client of gRPC.
func dial(t *testing.T, p *process) *grpc.ClientConn {
	t.Helper()
	c, err := grpc.NewClient(strings.TrimPrefix(p.web, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// rest asks for a resource and reads the answer into to.
func rest(t *testing.T, p *process, path string, to proto.Message) {
	t.Helper()
	b := page(t, p, path)
	if err := protojson.Unmarshal(b, to); err != nil {
		t.Fatalf("GET %s: %v: %s", path, err, b)
	}
}

// page reads a resource whole.
func page(t *testing.T, p *process, path string) []byte {
	t.Helper()
	body, err := get(t.Context(), p.web+path, "*/*")
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	return b
}

// TestAPIStudies: what was pushed is found, described, known and retrieved
// over gRPC, bit for bit and from where a transfer broke, and REST says the
// same; in the journal and in the archive alike.
func TestAPIStudies(t *testing.T) {
	t.Parallel()
	node := serve(t, t.TempDir(), "--settle", "1h")
	study := dicomtest.NewStudy(dicomtest.Options{Modality: "CT", Instances: 12})
	if !pushSTOW(t.Context(), node, newLedger(), study.Instances) {
		t.Fatal("push failed")
	}
	t.Run("journal", func(t *testing.T) { apiStudies(t, node, study) })
	dir := t.TempDir()
	archived := serve(t, dir, "--settle", "1ms")
	if !pushSTOW(t.Context(), archived, newLedger(), study.Instances) {
		t.Fatal("push failed")
	}
	archived.eventually("archived", func() bool {
		return metric(t, archived, `cigogne_index_held{kind="instances"}`) == "12" && metric(t, archived, `cigogne_index_held{kind="live"}`) == "0"
	})
	t.Run("archive", func(t *testing.T) { apiStudies(t, archived, study) })
}

func apiStudies(t *testing.T, node *process, study dicomtest.Study) {
	c := pb.NewStudiesClient(dial(t, node))
	found, err := c.Search(t.Context(), &pb.StudiesSearchRequest{StudyInstanceUids: []string{study.StudyInstanceUID}})
	if err != nil || len(found.Studies) != 1 || found.Studies[0].NumberOfStudyRelatedInstances != 12 || found.NextPageToken != "" {
		t.Fatalf("Search: %v %v", found, err)
	}
	overREST := &pb.StudiesSearchResponse{}
	rest(t, node, "/v1/studies?studyInstanceUids="+study.StudyInstanceUID, overREST)
	if !proto.Equal(found, overREST) {
		t.Errorf("REST answers\n%v\ngRPC\n%v", overREST, found)
	}

	got, err := c.Get(t.Context(), &pb.StudiesGetRequest{StudyInstanceUid: study.StudyInstanceUID})
	if err != nil || len(got.Study.Series) == 0 {
		t.Fatalf("Get: %v %v", got, err)
	}

	var listed []*pb.Instance
	for req := (&pb.StudiesListInstancesRequest{StudyInstanceUid: study.StudyInstanceUID, PageSize: 5}); ; {
		page, err := c.ListInstances(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		listed = append(listed, page.Instances...)
		if req.PageToken = page.NextPageToken; req.PageToken == "" {
			break
		}
	}
	if len(listed) != 12 {
		t.Fatalf("%d instances are listed", len(listed))
	}
	apiHave(t, c, listed)
	apiRetrieve(t, c, study, listed)
}

func apiHave(t *testing.T, c pb.StudiesClient, listed []*pb.Instance) {
	held := listed[0].Name
	other, absent := proto.CloneOf(held), proto.CloneOf(held)
	other.Digest = strings.Repeat("0", 64)
	absent.SopInstanceUid = "2.25.404"
	answer, err := c.Have(t.Context(), &pb.StudiesHaveRequest{Instances: []*pb.InstanceName{absent, held, other}})
	want := []pb.Holding{pb.Holding_HOLDING_ABSENT, pb.Holding_HOLDING_HELD, pb.Holding_HOLDING_OTHER}
	if err != nil || !slices.Equal(answer.GetHoldings(), want) {
		t.Errorf("Have: %v %v, want %v", answer.GetHoldings(), err, want)
	}
	_, err = c.Have(t.Context(), &pb.StudiesHaveRequest{Instances: []*pb.InstanceName{{StudyInstanceUid: "x"}}})
	if status.Code(err) != codes.InvalidArgument || len(status.Convert(err).Details()) == 0 {
		t.Errorf("Have of no UID: %v", err)
	}
}

// retrieved reads a stream of instances; it breaks off after most bytes, when
// that is not 0.
func retrieved(t *testing.T, c pb.StudiesClient, req *pb.StudiesRetrieveRequest, most int) (heads []*pb.Instance, bodies [][]byte) {
	t.Helper()
	stream, err := c.Retrieve(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	for total := 0; most == 0 || total < most; {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if in := m.GetInstance(); in != nil {
			heads, bodies = append(heads, in), append(bodies, nil)
			continue
		}
		bodies[len(bodies)-1] = append(bodies[len(bodies)-1], m.GetChunk()...)
		total += len(m.GetChunk())
	}
	return heads, bodies
}

func apiRetrieve(t *testing.T, c pb.StudiesClient, study dicomtest.Study, listed []*pb.Instance) {
	sent := map[[32]byte]bool{}
	for _, in := range study.Instances {
		sent[sha256.Sum256(in.Part10())] = true
	}
	heads, bodies := retrieved(t, c, &pb.StudiesRetrieveRequest{StudyInstanceUid: study.StudyInstanceUID}, 0)
	if len(heads) != len(listed) {
		t.Fatalf("%d instances were retrieved of %d", len(heads), len(listed))
	}
	for i, body := range bodies {
		if !proto.Equal(heads[i], listed[i]) || int64(len(body)) != listed[i].Size {
			t.Fatalf("instance %d: %v with %d bytes, want %v", i, heads[i], len(body), listed[i])
		}
		if storage.DigestOf(body[heads[i].Prefix:]).String() != heads[i].Name.Digest {
			t.Errorf("instance %d is not that of its digest", i)
		}
		if !sent[sha256.Sum256(body)] {
			t.Errorf("instance %d is not what was sent", i)
		}
	}
	// Break off in the third instance, and go on.
	size := len(bodies[0]) + len(bodies[1])
	first, part := retrieved(t, c, &pb.StudiesRetrieveRequest{StudyInstanceUid: study.StudyInstanceUID}, size+1)
	rest, more := retrieved(t, c, &pb.StudiesRetrieveRequest{
		StudyInstanceUid: study.StudyInstanceUID, ResumeSopInstanceUid: first[2].Name.SopInstanceUid, ResumeOffset: int64(len(part[2])),
	}, 0)
	if len(rest) != len(listed)-2 || !bytes.Equal(append(part[2], more[0]...), bodies[2]) {
		t.Errorf("going on at byte %d of instance 3 gives %d instances and other bytes", len(part[2]), len(rest))
	}
}

// TestAPIDescribesItself: gRPC health and reflection answer, and REST has its
// description and a page to read.
func TestAPIDescribesItself(t *testing.T) {
	t.Parallel()
	node := serve(t, t.TempDir())
	conn := dial(t, node)
	h, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{Service: "cigogne.v1.Studies"})
	if err != nil || h.Status != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("health: %v %v", h, err)
	}
	stream, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ask := &reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "cigogne.v1.Studies"}}
	if err := stream.Send(ask); err != nil {
		t.Fatal(err)
	}
	answer, err := stream.Recv()
	if err != nil || len(answer.GetFileDescriptorResponse().GetFileDescriptorProto()) == 0 {
		t.Errorf("reflection: %v %v", answer, err)
	}
	var api struct{ Paths map[string]any }
	if err := json.Unmarshal(page(t, node, "/openapi.json"), &api); err != nil || api.Paths["/v1/studies"] == nil {
		t.Errorf("openapi.json: %v, %d paths", err, len(api.Paths))
	}
	if text := page(t, node, "/api"); !bytes.Contains(text, []byte("/v1/studies/{studyInstanceUid}")) {
		t.Errorf("/api: %.200s", text)
	}
}

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

// TestAPIRetrievals: who retrieved what stands in the timeline, also of a
// retrieval right before the node stopped; of a part or of headers alone it
// does not.
func TestAPIRetrievals(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	node := serve(t, dir, "--settle", "1h")
	study := dicomtest.NewStudy(dicomtest.Options{Modality: "CR", Instances: 4})
	if !pushSTOW(t.Context(), node, newLedger(), study.Instances) {
		t.Fatal("push failed")
	}
	at := "/dicom-web/studies/" + study.StudyInstanceUID
	whole, err := get(t.Context(), node.web+at, "application/zip")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, whole); err != nil {
		t.Fatal(err)
	}
	whole.Close()
	retrieved(t, pb.NewStudiesClient(dial(t, node)), &pb.StudiesRetrieveRequest{StudyInstanceUid: study.StudyInstanceUID}, 0)
	page(t, node, at+"/metadata")
	long := dicomtest.NewStudy(dicomtest.Options{Seed: 2, Instances: 40}) // more than sockets hold
	if !pushSTOW(t.Context(), node, newLedger(), long.Instances) {
		t.Fatal("push failed")
	}
	cutOff(t, node, "/dicom-web/studies/"+long.StudyInstanceUID)
	node.stop()

	node = serve(t, dir, "--settle", "1h")
	told := &pb.StudiesTimelineResponse{}
	rest(t, node, "/v1/studies/"+study.StudyInstanceUID+"/timeline", told)
	sent := map[string]int64{}
	for _, s := range told.Series {
		for _, step := range s.Steps {
			switch step.Kind {
			case pb.StepKind_STEP_KIND_RETRIEVED:
				sent[step.Origin.Transport] += step.Instances
				if step.BytesPerSecond <= 0 {
					t.Errorf("no throughput: %v", step)
				}
			case pb.StepKind_STEP_KIND_CUT:
				t.Errorf("nothing of it was cut: %v", step)
			}
		}
	}
	wasCut(t, node, long)
	if sent["wado"] != 4 || sent["grpc"] != 4 || len(sent) != 2 {
		t.Errorf("retrieved %v", sent)
	}
}

// wasCut: what broke off stands in the timeline with the bytes that went out
// until then, and as nothing that was retrieved.
func wasCut(t *testing.T, node *process, study dicomtest.Study) {
	t.Helper()
	told := &pb.StudiesTimelineResponse{}
	rest(t, node, "/v1/studies/"+study.StudyInstanceUID+"/timeline", told)
	var cut *pb.Step
	for _, s := range told.Series {
		for _, step := range s.Steps {
			switch step.Kind {
			case pb.StepKind_STEP_KIND_CUT:
				cut = step
			case pb.StepKind_STEP_KIND_RETRIEVED:
				t.Errorf("it was not retrieved: %v", step)
			}
		}
	}
	whole := study.Instances[0].Size() * int64(len(study.Instances))
	if cut.GetBytes() < 1 || cut.GetBytes() >= whole || cut.GetInstances() != 0 || cut.GetBytesPerSecond() <= 0 {
		t.Errorf("what was cut is %v, of %d bytes", cut, whole)
	}
}

// cutOff begins to retrieve, and hangs up.
func cutOff(t *testing.T, node *process, path string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(node.web, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: node\r\nAccept: application/zip\r\n\r\n", path)
	if _, err := io.CopyN(io.Discard, conn, 4<<10); err != nil {
		t.Fatal(err)
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
