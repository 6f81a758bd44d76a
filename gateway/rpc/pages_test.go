package rpc

import (
	"fmt"
	"net/http"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
)

// TestPagesAreBounded: a page takes no more bytes than it may, and the pages
// together hold every study once, whatever the fields that are asked for.
func TestPagesAreBounded(t *testing.T) {
	const studies, most = 60, 2 << 10
	s := serve(t, newIndexed(t, studies), Limits{MaxPage: most})
	c := pb.NewStudiesClient(s.dial(t))
	for _, fields := range [][]string{nil, {"study_instance_uid", "patient_name"}} {
		seen, pages := map[string]bool{}, 0
		req := &pb.StudiesSearchRequest{PageSize: 50, ReadMask: &fieldmaskpb.FieldMask{Paths: fields}}
		for {
			page, err := c.Search(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			pages++
			bytes := 0
			for _, one := range page.Studies {
				if seen[one.StudyInstanceUid] {
					t.Errorf("%s is on two pages", one.StudyInstanceUid)
				}
				seen[one.StudyInstanceUid] = true
				bytes += proto.Size(one)
			}
			if bytes > most {
				t.Errorf("a page of %d bytes", bytes)
			}
			if req.PageToken = page.NextPageToken; req.PageToken == "" {
				break
			}
			if len(page.Studies) == 0 {
				t.Fatal("a page of nothing, and there are more")
			}
		}
		if len(seen) != studies || pages < 2 {
			t.Errorf("%v: %d of %d studies on %d pages", fields, len(seen), studies, pages)
		}
	}
}

// TestPageTokens: a token is of its question; with another it is refused.
func TestPageTokens(t *testing.T) {
	s := serve(t, newIndexed(t, 5), Limits{})
	c := pb.NewStudiesClient(s.dial(t))
	page, err := c.Search(t.Context(), &pb.StudiesSearchRequest{PageSize: 2})
	if err != nil || page.NextPageToken == "" {
		t.Fatalf("%v, %v", page, err)
	}
	other := &pb.StudiesSearchRequest{PageSize: 2, PageToken: page.NextPageToken, PatientId: "x"}
	if _, err := c.Search(t.Context(), other); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a token of another question: %v", err)
	}
	if got, _ := s.get(t, fmt.Sprintf("/v1/studies?pageSize=1&pageToken=%s&readMask=studyDate", page.NextPageToken)); got != http.StatusOK {
		t.Errorf("another size and other fields: %d", got)
	}
}
