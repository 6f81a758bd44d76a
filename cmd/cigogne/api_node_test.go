package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// TestAPICustody: a study that is deleted over the API is not found, is put
// back by an undo, is kept by a hold, and is removed when its time has come;
// feed and timeline tell each step.
func TestAPICustody(t *testing.T) {
	t.Parallel()
	node := serve(t, t.TempDir(), "--settle", "1ms", "--delete-grace", "1h", "--complete-after", "1h", "--allow-delete")
	conn := dial(t, node)
	custody, studies := pb.NewCustodyClient(conn), pb.NewStudiesClient(conn)
	study := dicomtest.NewStudy(dicomtest.Options{Modality: "CT", Instances: 3})
	uid := study.StudyInstanceUID
	if !pushSTOW(t.Context(), node, newLedger(), study.Instances) {
		t.Fatal("push failed")
	}
	node.eventually("archived", func() bool {
		return metric(t, node, `cigogne_index_held{kind="instances"}`) == "3" && metric(t, node, `cigogne_index_held{kind="live"}`) == "0"
	})
	expect := func(what string, err error, want codes.Code) {
		t.Helper()
		if status.Code(err) != want {
			t.Fatalf("%s: %v, want %v", what, err, want)
		}
	}
	_, err := custody.Hold(t.Context(), &pb.CustodyHoldRequest{StudyInstanceUid: uid, HoldName: "case 7", By: "dr", Why: "expertise"})
	expect("hold", err, codes.OK)
	_, err = custody.Delete(t.Context(), &pb.CustodyDeleteRequest{StudyInstanceUid: uid})
	expect("delete what is on hold", err, codes.FailedPrecondition)
	holds, err := custody.ListHolds(t.Context(), &pb.CustodyListHoldsRequest{})
	if err != nil || len(holds.Studies) != 1 || !strings.HasPrefix(holds.Studies[0].Holds[0].GetSet().GetBy(), "dr (unproven), from 127.0.0.1") {
		t.Errorf("holds %v (%v)", holds, err)
	}
	_, err = custody.SetRetention(t.Context(), &pb.CustodySetRetentionRequest{Years: new(int32), Why: "a test"})
	expect("retention", err, codes.OK)
	_, err = custody.Release(t.Context(), &pb.CustodyReleaseRequest{StudyInstanceUid: uid, HoldName: "case 7"})
	expect("release", err, codes.OK)
	d, err := custody.Delete(t.Context(), &pb.CustodyDeleteRequest{StudyInstanceUid: uid, By: "op", Why: "wrong patient"})
	expect("delete", err, codes.OK)
	if d.Deletion.Instances != 3 || d.Deletion.State != pb.DeletionState_DELETION_STATE_MARKED || d.Deletion.Due == nil || d.Before {
		t.Errorf("%v", d)
	}
	_, err = studies.Get(t.Context(), &pb.StudiesGetRequest{StudyInstanceUid: uid})
	expect("get what is deleted", err, codes.NotFound)
	list := &pb.CustodyListDeletionsResponse{}
	rest(t, node, "/v1/deletions", list)
	if len(list.Deletions) != 1 || list.Deletions[0].DeletionId != d.Deletion.DeletionId || list.Deletions[0].Marked.Why != "wrong patient" {
		t.Errorf("%v", list)
	}
	_, err = custody.Undo(t.Context(), &pb.CustodyUndoRequest{DeletionId: d.Deletion.DeletionId, By: "op"})
	expect("undo", err, codes.OK)
	_, err = studies.Get(t.Context(), &pb.StudiesGetRequest{StudyInstanceUid: uid})
	expect("get what was put back", err, codes.OK)
	_, err = custody.GetDeletion(t.Context(), &pb.CustodyGetDeletionRequest{DeletionId: "none"})
	expect("a deletion that is none", err, codes.NotFound)

	kinds := map[pb.EventKind]int64{}
	feed, err := pb.NewEventsClient(conn).List(t.Context(), &pb.EventsListRequest{})
	expect("events", err, codes.OK)
	for _, e := range feed.Events {
		kinds[e.Kind] += e.Instances
	}
	if kinds[pb.EventKind_EVENT_KIND_DELETED] != 3 || kinds[pb.EventKind_EVENT_KIND_RESTORED] != 3 {
		t.Errorf("events %v", feed.Events)
	}
	told, err := studies.Timeline(t.Context(), &pb.StudiesTimelineRequest{StudyInstanceUid: uid})
	expect("timeline", err, codes.OK)
	var steps []pb.StepKind
	for _, s := range told.Series[0].Steps {
		if s.Kind != pb.StepKind_STEP_KIND_COMPLETE { // it is that after each of them
			steps = append(steps, s.Kind)
		}
	}
	if want := []pb.StepKind{pb.StepKind_STEP_KIND_DELETED, pb.StepKind_STEP_KIND_RESTORED}; told.Series[0].SeriesInstanceUid != "" || !slices.Equal(steps, want) {
		t.Errorf("timeline %v", told)
	}
}

// TestAPIHealth: a node says that it is well and, when its archive is away,
// what fails, since when, and in the operator's language what to do.
func TestAPIHealth(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	node := serve(t, filepath.Join(dir, "data"), "--archive", "dir://"+filepath.Join(dir, "archive"))
	well := &pb.NodesHealthResponse{}
	rest(t, node, "/v1/health", well)
	if !well.Ready || len(well.Checks) < 3 || well.Checks[0].SeenBy == "" || well.Checks[0].Since == nil {
		t.Errorf("%v", well)
	}
	all := &pb.ArchivesListResponse{}
	rest(t, node, "/v1/archives", all)
	if len(all.Archives) != 1 || !all.Archives[0].Reachable || !strings.HasSuffix(all.Archives[0].Name, "/archive") {
		t.Errorf("%v", all)
	}
	state := &pb.NodesStatusResponse{}
	rest(t, node, "/v1/node", state)
	if n := state.Node; n.GetName() == "" || n.Journal.GetJournalId() == "" || n.Disk.GetSize() <= n.Disk.GetFree() || n.Disk.GetFree() <= 0 {
		t.Errorf("%v", state)
	}

	// Nothing listens at port 1.
	cut := serve(t, t.TempDir(), "--archive", "s3://bucket?endpoint=http://127.0.0.1:1&path-style=true&region=x")
	ill := &pb.NodesHealthResponse{}
	rest(t, cut, "/v1/health?language=fr", ill)
	failing := map[string]*pb.Check{}
	for _, c := range ill.Checks {
		if c.State == pb.CheckState_CHECK_STATE_FAILING {
			failing[c.Name] = c
		}
	}
	c := failing["archive"]
	if ill.Ready || len(failing) != 1 || c.GetWhy() == "" || !strings.Contains(c.GetAction(), "Vérifiez") || c.Since == nil {
		t.Errorf("%v", ill)
	}
	rest(t, cut, "/v1/archives", all)
	if len(all.Archives) != 1 || all.Archives[0].Reachable || all.Archives[0].Why == "" {
		t.Errorf("%v", all)
	}
}

// TestAPIVerify: packs are read back; a copy that is damaged is found, told
// over gRPC and REST, and brought back from the other archive.
func TestAPIVerify(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	node := serve(t, filepath.Join(dir, "data"), "--settle", "1ms", "--archive", "dir://"+a, "--archive", "dir://"+b, "--scrub-rate", "0")
	study := dicomtest.NewStudy(dicomtest.Options{Modality: "CR", Instances: 3})
	if !pushSTOW(t.Context(), node, newLedger(), study.Instances) {
		t.Fatal("push failed")
	}
	node.eventually("archived", func() bool {
		return metric(t, node, `cigogne_index_held{kind="instances"}`) == "3" && metric(t, node, `cigogne_index_held{kind="live"}`) == "0"
	})
	c := pb.NewArchivesClient(dial(t, node))
	verify := func() (findings []*pb.Finding, last *pb.Verification) {
		stream, err := c.Verify(t.Context(), &pb.ArchivesVerifyRequest{StudyInstanceUid: study.StudyInstanceUID})
		for done := false; err == nil && !done; {
			var m *pb.ArchivesVerifyResponse
			if m, err = stream.Recv(); err == nil {
				findings, last, done = append(findings, m.Findings...), m.SoFar, m.Done
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		return findings, last
	}
	if found, last := verify(); len(found) > 0 || last.Copies < 2 || last.Instances < 3 || last.Bytes == 0 {
		t.Errorf("%v, %v", found, last)
	}
	packs, err := filepath.Glob(filepath.Join(a, "studies", "*", "*", "*.zip"))
	if err != nil || len(packs) == 0 {
		t.Fatalf("%v, %v", packs, err)
	}
	flipByte(t, packs[0])
	if found, _ := verify(); len(found) != 1 || found[0].Fault != "damaged" || !strings.HasSuffix(found[0].Archive, "/a") {
		t.Errorf("%v", found)
	}
	if text := string(page(t, node, "/v1/archives:verify")); !strings.Contains(text, `"fault":"damaged"`) || !strings.Contains(text, `"done":true`) {
		t.Errorf("REST: %s", text)
	}
	stream, err := c.Repair(t.Context(), &pb.ArchivesRepairRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var last *pb.ArchivesRepairResponse
	for last == nil || !last.Done {
		if last, err = stream.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	if found, now := verify(); last.SoFar.Repaired != 1 || len(found) > 0 {
		t.Errorf("after a repair (%v): %v, %v", last.SoFar, found, now)
	}
}

// flipByte changes a byte in the middle of a file.
func flipByte(t *testing.T, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2]++
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
