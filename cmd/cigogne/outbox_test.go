package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// placeOf is a study's place in the shared record.
func placeOf(t *testing.T, node *process, study string) *pb.Publication {
	t.Helper()
	answer := &pb.PublicationsGetResponse{}
	rest(t, node, publicationsPath+"/"+study, answer)
	return answer.Publication
}

// settled waits until there is nothing to do for a study, and the record has
// the manifest that is given, or any with "*", or none with "".
func settled(t *testing.T, node *process, record *sharedRecord, study, sop string) string {
	t.Helper()
	var has string
	node.eventually("settled with "+sop+" of "+study, func() bool {
		p := placeOf(t, node, study)
		has = record.has(study)
		return p.State == pb.PublicationState_PUBLICATION_STATE_SETTLED && p.Next == 0 && (has == sop || sop == "*" && has != "") && (p.Published == nil) == (has == "")
	})
	return has
}

// patientOf is a study of a patient of Hautepierre.
func patientOf(seed uint64, id string, instances int) dicomtest.Study {
	return dicomtest.NewStudy(dicomtest.Options{Seed: seed, Modality: "CR", Instances: instances, PatientID: id, PatientName: "Muller^Odile"})
}

// TestPublication: the shared record gets the manifest of a patient who is
// qualified and does not oppose, once, whatever goes wrong; the next version
// takes its place; and it is withdrawn for an opposition, for the end of the
// link and for a deletion. Of others the record hears nothing.
func TestPublication(t *testing.T) {
	t.Parallel()
	record := newSharedRecord(t, odiles)
	node := serve(t, t.TempDir(), "--sites", region(t), "--settle", "20ms", "--complete-after", "300ms", "--allow-delete", "--log-level", "error",
		"--dmp-endpoint", record.server.URL+"/fhir", "--dmp-timeout", "2s")
	const hus = "/1.2.250.1.999.1/"
	study, unlinked, doubtful, opposing := patientOf(9501, "4711", 2), patientOf(9502, "1", 1), patientOf(9503, "2", 1), patientOf(9504, "3", 1)
	late := study
	study.Instances, late.Instances = study.Instances[:1], study.Instances[1:]
	uid := study.StudyInstanceUID
	other := strings.Replace(asserted(nir, "MULLER"), odiles, "162018885045327", 1)

	node.identities(http.MethodPut, "/oppositions/1.2.250.1.213.1.4.8/162018885045327?reason=said+so", "", http.StatusOK)
	for _, s := range []dicomtest.Study{study, unlinked, doubtful, opposing} {
		sendAs(t, node, "HTP_PACS", s, "F")
	}
	node.identities(http.MethodPut, "/local"+hus+"2", strings.Replace(asserted(nir, "MULLER"), "VALI", "PROV", 1), http.StatusOK)
	node.identities(http.MethodPut, "/local"+hus+"3", other, http.StatusOK)
	awaitVersion(t, node, opposing.StudyInstanceUID, lifeOf(t, node, opposing.StudyInstanceUID).Version+1, true)

	// Whatever goes wrong: it refuses to answer, breaks off, takes it and does
	// not say so, is overloaded.
	record.fails(
		func(c *conversation) { c.status = http.StatusInternalServerError },
		func(*conversation) { panic(http.ErrAbortHandler) },
		func(c *conversation) { c.drop = true },
		func(c *conversation) { c.status = http.StatusTooManyRequests },
	)
	node.identities(http.MethodPut, "/local"+hus+"4711", asserted(nir, "MULLER"), http.StatusOK)
	first := settled(t, node, record, uid, "*")
	if left := record.left(); left != 0 {
		t.Errorf("%d failures were not met", left)
	}
	sendAs(t, node, "HTP_PACS", late, "F")
	node.eventually("replaced", func() bool { has := record.has(uid); return has != "" && has != first })
	second := settled(t, node, record, uid, lifeOf(t, node, uid).ManifestSopInstanceUid)

	node.identities(http.MethodPut, "/oppositions"+hus+"4711?reason=said+so", "", http.StatusOK)
	settled(t, node, record, uid, "")
	node.identities(http.MethodDelete, "/oppositions"+hus+"4711?reason=changed+her+mind", "", http.StatusOK)
	if third := settled(t, node, record, uid, "*"); third == second {
		t.Errorf("what was withdrawn came again under its name: %s", third)
	}

	// One that it will not have waits for a person, until they say so. It is
	// tried once more when the study is complete again.
	refuses := func(c *conversation) { c.status = http.StatusUnprocessableEntity }
	record.fails(refuses, refuses, refuses)
	linked := lifeOf(t, node, uid).Version
	node.identities(http.MethodDelete, "/local"+hus+"4711?reason=wrong", "", http.StatusOK)
	awaitVersion(t, node, uid, linked+1, false)
	node.eventually("refused", func() bool {
		p := placeOf(t, node, uid)
		return p.State == pb.PublicationState_PUBLICATION_STATE_REFUSED && p.Next == pb.PublicationAct_PUBLICATION_ACT_WITHDRAW
	})
	if list := string(page(t, node, publicationsPath)); !strings.Contains(list, uid) || !strings.Contains(list, "422") {
		t.Errorf("%s", list)
	}
	if m := metric(t, node, `cigogne_publications{state="refused"}`); m != "1" {
		t.Errorf("%s refused", m)
	}
	if said := node.cigogne(exitOK, "publications", "list"); !strings.Contains(said, uid+"  refused  withdraw") {
		t.Errorf("%s", said)
	}
	record.recovers()
	node.cigogne(exitOK, "publications", "retry", uid)
	settled(t, node, record, uid, "")

	node.identities(http.MethodPut, "/local"+hus+"4711", asserted(nir, "MULLER"), http.StatusOK)
	settled(t, node, record, uid, "*")
	node.cigogne(exitOK, "retention", "set", "0", "-r", "a test")
	node.cigogne(exitOK, "delete", uid, "-r", "a test")
	settled(t, node, record, uid, "")
	if told := string(page(t, node, "/v1/studies/"+uid+"/timeline")); !strings.Contains(told, "STEP_KIND_PUBLISHED") || !strings.Contains(told, "STEP_KIND_WITHDRAWN") {
		t.Errorf("timeline: %s", told)
	}
	for _, s := range []dicomtest.Study{unlinked, doubtful, opposing} {
		if l := lifeOf(t, node, s.StudyInstanceUID); l.Open || l.Version == 0 {
			t.Errorf("%v is not complete", l)
		}
	}
	record.blameless()
}

// TestPublicationOutlivesTheIndex: an index that was made anew leaves nothing in
// the shared record that does not stand: what it finds is published again, and
// is one there; what a study has become otherwise takes its place.
func TestPublicationOutlivesTheIndex(t *testing.T) {
	t.Parallel()
	record := newSharedRecord(t, odiles)
	dir := t.TempDir()
	flags := []string{"--sites", region(t), "--settle", "20ms", "--log-level", "error", "--dmp-endpoint", record.server.URL + "/fhir", "--dmp-timeout", "2s", "--manifest-url", "https://images.example/by-manifest"}
	node := serve(t, dir, append(flags, "--complete-after", "300ms")...)
	same, grown := patientOf(9511, "4711", 1), patientOf(9512, "4711", 2)
	late := grown
	grown.Instances, late.Instances = grown.Instances[:1], grown.Instances[1:]
	node.identities(http.MethodPut, "/local/1.2.250.1.999.1/4711", asserted(nir, "MULLER"), http.StatusOK)
	sendAs(t, node, "HTP_PACS", same, "F")
	sendAs(t, node, "HTP_PACS", grown, "F")
	first := settled(t, node, record, same.StudyInstanceUID, "*")
	settled(t, node, record, grown.StudyInstanceUID, "*")
	node.archived()
	node.stop()
	if err := os.RemoveAll(filepath.Join(dir, "index")); err != nil {
		t.Fatal(err)
	}
	if code, said := told(t, dir, "archive rebuild-index"); code != exitOK {
		t.Fatal(said)
	}

	node = serve(t, dir, append(flags, "--complete-after", "1h")...)
	sendAs(t, node, "HTP_PACS", late, "F")
	c := pb.NewStudiesClient(dial(t, node))
	for _, uid := range []string{same.StudyInstanceUID, grown.StudyInstanceUID} {
		if _, err := c.Complete(t.Context(), &pb.StudiesCompleteRequest{StudyInstanceUid: uid, By: "a test"}); err != nil {
			t.Fatal(err)
		}
	}
	settled(t, node, record, same.StudyInstanceUID, first)
	settled(t, node, record, grown.StudyInstanceUID, lifeOf(t, node, grown.StudyInstanceUID).ManifestSopInstanceUid)
	record.blameless()
}

// TestPublicationOutlivesItsLeader: while the leader waits for an answer it is
// stopped, killed or loses the lead. Another node goes on, and never while the
// first may still be heard.
func TestPublicationOutlivesItsLeader(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for what a node may still be sending")
	}
	t.Parallel()                                    // it waits more than it works
	const timeout, patience = "4s", 6 * time.Second // of the sender, and of the record
	for _, how := range []struct {
		name  string
		falls func(r *cohort, leader string)
	}{
		{"killed", func(r *cohort, leader string) { r.nodes[leader].kill() }},
		{"paused", func(r *cohort, leader string) { r.signal(leader, syscall.SIGSTOP) }},
		{"resigned", func(r *cohort, leader string) { r.cluster(leader, "transfer-leader") }},
	} {
		t.Run(how.name, func(t *testing.T) {
			record := newSharedRecord(t, odiles)
			r := newRegion(t)
			sites := region(t)
			for _, id := range []string{"n1", "n2", "n3"} {
				r.start(id, "--sites", sites, "--complete-after", "300ms", "--log-level", "error", "--dmp-endpoint", record.server.URL, "--dmp-timeout", timeout,
					"--manifest-url", "https://images.example/by-manifest")
			}
			r.voting()
			leader := r.leader("n1")
			other := map[string]string{"n1": "n2", "n2": "n3", "n3": "n1"}[leader]
			study := patientOf(9601, "4711", 2)
			came, once := make(chan struct{}), sync.Once{}
			record.fails(func(c *conversation) {
				once.Do(func() { close(came) })
				select { // it says nothing until its sender has gone, or it gives up
				case <-c.r.Context().Done():
				case <-time.After(patience):
				}
				c.drop = true
			})
			sendAs(t, r.nodes[other], "HTP_PACS", study, "F")
			r.nodes[other].identities(http.MethodPut, "/local/1.2.250.1.999.1/4711", asserted(nir, "MULLER"), http.StatusOK)
			select {
			case <-came:
			case <-time.After(hangs):
				t.Fatal("nothing came")
			}
			how.falls(r, leader)
			settled(t, r.nodes[other], record, study.StudyInstanceUID, "*")
			if how.name == "paused" {
				r.signal(leader, syscall.SIGCONT)
				r.nodes[leader].ready()
				settled(t, r.nodes[other], record, study.StudyInstanceUID, "*")
			}
			if aside := string(page(t, r.nodes[other], "/dicom-web/conflicts")); strings.TrimSpace(aside) != "[]" {
				t.Errorf("a manifest was made twice: %s", aside)
			}
			record.blameless()
			if record.requests < 2 {
				t.Errorf("%d requests: nobody went on", record.requests)
			}
		})
	}
}
