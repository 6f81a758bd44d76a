package main

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// TestAPIPatients: what was asserted is told over the API both ways, what
// waits is settled there by somebody who is named, and a link is ended.
func TestAPIPatients(t *testing.T) {
	t.Parallel()
	node := serve(t, t.TempDir(), "--sites", region(t), "--settle", "1h", "--log-level", "error")
	hers := dicomtest.NewStudy(dicomtest.Options{Seed: 9101, Modality: "CR", Instances: 1, PatientID: "4711", PatientName: "Muller^Odile"})
	sendAs(t, node, "HTP_PACS", hers, "F")
	hersToo := dicomtest.NewStudy(dicomtest.Options{Seed: 9102, Modality: "CR", Instances: 1, PatientID: "0815", PatientName: "DUPONT^ODILE"})
	sendAs(t, node, "COL_PACS", hersToo, "F")
	his := dicomtest.NewStudy(dicomtest.Options{Seed: 9103, Modality: "CR", Instances: 1, PatientID: "4711", PatientName: "Weber^Hans"})
	sendAs(t, node, "COL_PACS", his, "M") // nobody's but his own
	node.identities(http.MethodPut, "/local/1.2.250.1.999.1/4711", asserted(nir, "MULLER"), http.StatusOK)
	queued, _ := node.identities(http.MethodPut, "/local/HCC/0815", asserted(nir, "SCHMITT"), http.StatusOK)

	c := pb.NewPatientsClient(dial(t, node))
	local, other := &pb.LocalIdentity{Issuer: "1.2.250.1.999.1", PatientId: "4711"}, &pb.LocalIdentity{Issuer: "HCC", PatientId: "0815"}
	link, err := c.GetLink(t.Context(), &pb.PatientsGetLinkRequest{Local: local})
	if err != nil || link.Number.Oid != nir || !strings.HasPrefix(link.Number.Matricule, "2790351215189") {
		t.Fatalf("%v, %v", link, err)
	}
	if _, err := c.GetLink(t.Context(), &pb.PatientsGetLinkRequest{Local: other}); status.Code(err) != codes.NotFound {
		t.Errorf("what is not linked: %v", err)
	}
	queue := &pb.PatientsListQueueResponse{}
	rest(t, node, "/v1/patients:queue", queue)
	if len(queue.Changes) != 1 || queue.Changes[0].Name != queued.Name || queue.Changes[0].Kind != pb.IdentityKind_IDENTITY_KIND_QUEUED {
		t.Errorf("%v", queue)
	}
	settled, err := c.Settle(t.Context(), &pb.PatientsSettleRequest{Name: queued.Name, Link: true, By: "odile", Why: "married"})
	if err != nil || settled.Change.Kind != pb.IdentityKind_IDENTITY_KIND_LINKED || !strings.HasPrefix(settled.Change.By, "odile (unproven), from 127.0.0.1") {
		t.Fatalf("%v, %v", settled, err)
	}
	both := &pb.PatientsListIdentitiesResponse{}
	rest(t, node, "/v1/patients:identities?"+url.Values{"number.oid": {nir}, "number.matricule": {odiles}}.Encode(), both)
	if len(both.Identities) != 2 {
		t.Errorf("%v", both)
	}
	if _, err := c.Unlink(t.Context(), &pb.PatientsUnlinkRequest{Local: other, By: "odile"}); err != nil {
		t.Error(err)
	}
	var kinds []pb.IdentityKind
	for req := (&pb.PatientsListChangesRequest{Local: other, PageSize: 1}); ; {
		page, err := c.ListChanges(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range page.Changes {
			kinds = append(kinds, one.Kind)
		}
		if req.PageToken = page.NextPageToken; req.PageToken == "" {
			break
		}
	}
	feed := &pb.EventsListResponse{}
	rest(t, node, "/v1/events", feed)
	decided := 0
	for _, e := range feed.Events {
		if e.Kind == pb.EventKind_EVENT_KIND_IDENTITY && e.IdentityChange != "" && e.StudyInstanceUid == "" {
			decided++
		}
	}
	if decided != 4 { // linked, queued, settled, unlinked
		t.Errorf("the feed tells of %d decisions: %v", decided, feed)
	}
	if len(kinds) != 3 || kinds[2] != pb.IdentityKind_IDENTITY_KIND_UNDONE {
		t.Errorf("%v", kinds)
	}
}
