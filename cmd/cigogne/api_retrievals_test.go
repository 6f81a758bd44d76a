package main

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

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
