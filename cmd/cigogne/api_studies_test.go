package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

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
