package main

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/gateway/commitment"
	"github.com/esante-alsace/cigogne/gateway/dimse"
	"github.com/esante-alsace/cigogne/gateway/dimse/dimsetest"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// committingSites is a configuration in which AE titles have an address.
func committingSites(t *testing.T, addresses map[string]string) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("sites:\n")
	for i, title := range slices.Sorted(maps.Keys(addresses)) {
		fmt.Fprintf(&b, "  - name: Site of %s\n    issuer: {name: I%d}\n    calling-ae: [%s]\n    addresses: {%s: %q}\n", title, i, title, title, addresses[title])
	}
	path := filepath.Join(t.TempDir(), "sites.yaml")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func committingFlags(sites string, more ...string) []string {
	return append([]string{"--log-level", "error", "--settle", "50ms", "--commitment-settle", "200ms", "--complete-after", "1h", "--sites", sites}, more...)
}

func referencesOf(instances []dicomtest.Instance) (all []commitment.Reference) {
	for _, in := range instances {
		all = append(all, commitment.Reference{SOPClassUID: in.SOPClassUID, SOPInstanceUID: in.SOPInstanceUID})
	}
	return all
}

// TestCommitmentOnTheWire: who asks is told when all is archived, over another
// association, and what is not there, or another site's, has failed.
func TestCommitmentOnTheWire(t *testing.T) {
	t.Parallel()
	ct, mr := dimsetest.NewSCU(t, "CT1"), dimsetest.NewSCU(t, "MR1")
	node := serve(t, t.TempDir(), committingFlags(committingSites(t, map[string]string{"CT1": ct.Addr(), "MR1": mr.Addr()}))...)
	mine := dicomtest.NewStudy(dicomtest.Options{Seed: 4100, Instances: 3}).Instances
	theirs := dicomtest.NewStudy(dicomtest.Options{Seed: 4200, Instances: 1}).Instances
	sender{t, node, "CT1"}.mustSend(mine...)
	sender{t, node, "MR1"}.mustSend(theirs...)

	if got := ct.Ask(node.dimse, "CIGOGNE", "1.2.3.1", referencesOf(mine)...); got != dimse.StatusSuccess {
		t.Fatalf("the answer is %s", got)
	}
	r := ct.Next()
	if r.EventTypeID != 1 || r.DataSet.String(0x00081195) != "1.2.3.1" || len(r.Named(0x00081199)) != 3 || len(r.Named(0x00081198)) != 0 ||
		r.CallingAETitle != "CIGOGNE" || r.CalledAETitle != "CT1" {
		t.Errorf("all is archived, and the report is %+v", r)
	}

	conflict := commitment.Reference{SOPClassUID: "1.2.840.10008.5.1.4.1.1.4", SOPInstanceUID: mine[1].SOPInstanceUID}
	asked := []commitment.Reference{referencesOf(mine)[0], conflict, referencesOf(theirs)[0], {SOPClassUID: mine[0].SOPClassUID, SOPInstanceUID: "1.2.3.4.5"}}
	if got := ct.Ask(node.dimse, "CIGOGNE", "1.2.3.2", asked...); got != dimse.StatusSuccess {
		t.Fatalf("the answer is %s", got)
	}
	r = ct.Next()
	want := map[string]string{mine[1].SOPInstanceUID: "281", theirs[0].SOPInstanceUID: "274", "1.2.3.4.5": "274"} // 0119H, 0112H
	if r.EventTypeID != 2 || !reflect.DeepEqual(r.Named(0x00081198), want) || len(r.Named(0x00081199)) != 1 {
		t.Errorf("failed are %v, want %v; committed %v", r.Named(0x00081198), want, r.Named(0x00081199))
	}

	for name, want := range map[string]string{
		`cigogne_commitments_total{outcome="asked"}`: "2", `cigogne_commitments_total{outcome="committed"}`: "1", `cigogne_commitments_total{outcome="failed"}`: "1",
	} {
		if got := metric(t, node, name); got != want {
			t.Errorf("%s is %s, not %s", name, got, want)
		}
	}
	node.eventually("all reported", func() bool { return metric(t, node, `cigogne_commitments{state="reporting"}`) == "0" })
	steps := timelineOf(t, node, mine[0].StudyInstanceUID)
	for _, kind := range []string{"STEP_KIND_COMMITTED", "STEP_KIND_COMPLETE"} {
		if !strings.Contains(steps, kind) {
			t.Errorf("the timeline has no %s: %s", kind, steps)
		}
	}
	if steps := timelineOf(t, node, theirs[0].StudyInstanceUID); strings.Contains(steps, "STEP_KIND_COMMITTED") || strings.Contains(steps, "STEP_KIND_COMPLETE") {
		t.Errorf("another's study is committed: %s", steps)
	}
	node.stop()
}

func timelineOf(t *testing.T, node *process, study string) string {
	t.Helper()
	a := ask(t, node.web+"/v1/studies/"+study+"/timeline", "application/json")
	if a.status != http.StatusOK {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	return string(a.body)
}

// TestCommitmentNotConfigured: where nobody could be told, the service is not
// offered.
func TestCommitmentNotConfigured(t *testing.T) {
	t.Parallel()
	node := serveQuiet(t)
	a, err := dimse.Dial(t.Context(), node.dimse, dimse.SCUConfig{CalledAETitle: "CIGOGNE", Contexts: dimse.CommitmentContexts()})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Abort()
	if a.Accepts(dimse.StorageCommitment, "") {
		t.Error("storage commitment is offered")
	}
}

// TestCommitmentSurvives: a request that was answered with success is reported
// though the node was killed, the archive was away, and the asker was, too.
func TestCommitmentSurvives(t *testing.T) {
	t.Parallel()
	ct := dimsetest.NewSCU(t, "CT1")
	ct.Answer(dimse.StatusProcessingFailure)
	dir, archive := t.TempDir(), filepath.Join(t.TempDir(), "archive")
	flags := committingFlags(committingSites(t, map[string]string{"CT1": ct.Addr()}), "--archive", "dir://"+archive)
	node := serve(t, dir, flags...)
	in := dicomtest.NewStudy(dicomtest.Options{Seed: 4300, Instances: 2}).Instances
	if err := os.Rename(archive, archive+".away"); err != nil {
		t.Fatal(err)
	}
	sender{t, node, "CT1"}.mustSend(in...)
	if got := ct.Ask(node.dimse, "CIGOGNE", "1.2.3.1", referencesOf(in)...); got != dimse.StatusSuccess {
		t.Fatalf("the answer is %s", got)
	}
	node.kill()
	if err := os.Rename(archive+".away", archive); err != nil {
		t.Fatal(err)
	}
	node = serve(t, dir, flags...)
	ct.Next()
	node.eventually("known to have failed", func() bool { return metric(t, node, `cigogne_commitments{state="failing"}`) == "1" })
	node.kill()
	ct.Answer(dimse.StatusSuccess)
	node = serve(t, dir, flags...)
	node.eventually("reported", func() bool { return metric(t, node, `cigogne_commitments_total{outcome="reported"}`) == "1" })
	for range len(ct.Told) { // those that it did not take among them
		if r := ct.Next(); r.EventTypeID != 1 || len(r.Named(0x00081199)) != 2 {
			t.Errorf("the report is %+v", r)
		}
	}
	node.eventually("ended", func() bool { return metric(t, node, `cigogne_commitments{state="reporting"}`) == "0" })
	node.stop()
}

// TestOrthancCommits: Orthanc sends a study, asks for its storage commitment,
// and is told of that, and of an instance that it never sent.
func TestOrthancCommits(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	sites := committingSites(t, map[string]string{"ORTHANC": "127.0.0.1:" + port})
	node := serve(t, t.TempDir(), committingFlags(sites)...)
	o := startOrthancAt(t, node, port)
	files := study(t)
	o.fill(files)
	o.call(http.MethodPost, "/modalities/cigogne/store", map[string]any{"Resources": o.holds(), "Synchronous": true}, nil)
	for _, c := range []struct {
		body          any
		status        string
		succeed, fail int
	}{
		{map[string]any{"Resources": o.holds()}, "Success", 10, 0},
		{map[string]any{"DicomInstances": [][]string{{files[0].class, files[0].key.SOPInstanceUID}, {files[0].class, "1.2.3.4"}}}, "Failure", 1, 1},
	} {
		var asked struct{ Path string }
		o.call(http.MethodPost, "/modalities/cigogne/storage-commitment", c.body, &asked)
		var report struct {
			Status    string
			RemoteAET string
			Success   []struct{ SOPClassUID, SOPInstanceUID string }
			Failures  []struct {
				SOPInstanceUID string
				FailureReason  int
			}
		}
		node.eventually("reported", func() bool {
			o.call(http.MethodGet, asked.Path, nil, &report)
			return report.Status != "Pending"
		})
		if report.Status != c.status || len(report.Success) != c.succeed || len(report.Failures) != c.fail || report.RemoteAET != "CIGOGNE" {
			t.Errorf("Orthanc was told %+v\n%s", report, o.log)
		}
		if c.fail > 0 && (report.Failures[0].SOPInstanceUID != "1.2.3.4" || report.Failures[0].FailureReason != int(commitment.NoSuchInstance)) {
			t.Errorf("failed is %+v", report.Failures)
		}
	}
	node.eventually("reported", func() bool { return metric(t, node, `cigogne_commitments_total{outcome="reported"}`) == "2" })
}

// TestCommitmentInACluster: a request that one node has answered is reported by
// the others, whichever dies.
func TestCommitmentInACluster(t *testing.T) {
	if testing.Short() {
		t.Skip("three nodes")
	}
	t.Parallel()
	ct := dimsetest.NewSCU(t, "CT1")
	sites := committingSites(t, map[string]string{"CT1": ct.Addr()})
	r := newRegion(t)
	for _, id := range []string{"n1", "n2", "n3"} {
		r.start(id, committingFlags(sites, "--takeover-after", "1s")...)
	}
	r.voting()
	archive := filepath.Join(r.dir, "archive")
	if err := os.Rename(archive, archive+".away"); err != nil {
		t.Fatal(err)
	}
	leader := r.leader("n1")
	asked := "n1"
	if leader == asked {
		asked = "n2"
	}
	in := dicomtest.NewStudy(dicomtest.Options{Seed: 4400, Instances: 2}).Instances
	sender{t, r.nodes[asked], "CT1"}.mustSend(in...)
	if got := ct.Ask(r.nodes[asked].dimse, "CIGOGNE", "1.2.3.1", referencesOf(in)...); got != dimse.StatusSuccess {
		t.Fatalf("the answer is %s", got)
	}
	for id, node := range r.nodes {
		node.eventually("known on "+id, func() bool { return says(node, `cigogne_commitments{state="waiting"}`, "1") })
	}
	r.nodes[leader].kill()
	if err := os.Rename(archive+".away", archive); err != nil {
		t.Fatal(err)
	}
	if got := ct.Next(); got.EventTypeID != 1 || len(got.Named(0x00081199)) != 2 {
		t.Errorf("the report is %+v", got)
	}
	r.nodes[asked].eventually("ended", func() bool { return says(r.nodes[asked], `cigogne_commitments{state="reporting"}`, "0") })
}
