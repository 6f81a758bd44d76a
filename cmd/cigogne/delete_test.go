package main

import (
	"encoding/json"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/gateway/custody"
	"github.com/esante-alsace/cigogne/storage/archive/archivetest/s3test"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// send makes a request without a body and returns the answer read to its end.
func send(t *testing.T, method, url string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// cigogne runs a command that speaks to the node.
func (p *process) cigogne(want int, args ...string) string {
	p.t.Helper()
	cmd := command(p.t.Context(), append(args, "--gateway", p.web)...)
	out, _ := cmd.CombinedOutput() // the exit code tells
	if code := cmd.ProcessState.ExitCode(); code != want {
		p.t.Fatalf("cigogne %q ended with %d, not %d\n%s", args, code, want, out)
	}
	return string(out)
}

// deletions are what the node tells of them, by study.
func (p *process) deletions() map[string]custody.Deletion {
	p.t.Helper()
	_, body := send(p.t, http.MethodGet, p.web+"/custody/deletions")
	var all []custody.Deletion
	if err := json.Unmarshal([]byte(body), &all); err != nil {
		p.t.Fatalf("%v: %s", err, body)
	}
	byStudy := map[string]custody.Deletion{}
	for _, d := range all {
		byStudy[d.StudyInstanceUID] = d
	}
	return byStudy
}

func (p *process) expectGone(study string) {
	p.t.Helper()
	if status, body := send(p.t, http.MethodGet, p.web+"/dicom-web/studies?StudyInstanceUID="+study); status != http.StatusOK || !strings.Contains(body, "[]") {
		p.t.Errorf("searched: %d %s", status, body)
	}
	for _, resource := range []string{"", "/metadata"} {
		if status, body := send(p.t, http.MethodGet, p.web+"/dicom-web/studies/"+study+resource); status != http.StatusNotFound {
			p.t.Errorf("retrieved %s: %d %.200s", resource, status, body)
		}
	}
}

// filesBelow are the files whose path has the part.
func filesBelow(t *testing.T, dir, part string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(path, part) {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestDelete: a study that came by storescu is deleted, put back, held and
// removed: from a real S3 server that is away at first, and from a folder. The
// node is killed in between, and its index lost in the end.
func TestDelete(t *testing.T) {
	t.Parallel()
	storescu := tool(t, "storescu")
	folder := filepath.Join(dicomDir(t), "series", "mr-ge-epi-150")
	files, _ := readSeries(t, folder)
	study := files[0].key.StudyInstanceUID
	server := s3test.Start(t)
	dir, backup := t.TempDir(), t.TempDir()
	stores := []string{"--archive", s3URL(server), "--archive", "dir://" + backup}
	start := func(flags ...string) *process {
		return serve(t, dir, append(append([]string{"--settle", "50ms"}, stores...), flags...)...)
	}
	node := start("--log-level", "error")
	host, port := node.hostPort()
	mustRun(t, storescu, "-aec", "CIGOGNE", "-R", "+sd", "+r", host, port, folder)
	other := newLedger()
	if !pushSTOW(t.Context(), node, other, dicomtest.NewStudy(dicomtest.Options{Seed: 9, Modality: "CR", Instances: 3}).Instances) {
		t.Fatal("push failed")
	}
	node.archived()
	resource := node.web + "/dicom-web/studies/" + study
	if status, body := send(t, http.MethodDelete, resource); status != http.StatusForbidden || !strings.Contains(body, "--allow-delete") {
		t.Errorf("not allowed: %d %s", status, body)
	}
	if status, _ := send(t, http.MethodDelete, resource+"/series/"+files[0].key.SeriesInstanceUID); status != http.StatusForbidden {
		t.Errorf("a series: %d", status)
	}
	node.cigogne(exitFailure, "retention", "set", "0", "-r", "a try")
	node.cigogne(exitOK, "holds", "set", study, "case 7", "-r", "a court asks") // keeping is always allowed
	node.stop()

	node = start("--allow-delete", "--log-level", "info")
	resource = node.web + "/dicom-web/studies/" + study
	status, body := send(t, http.MethodDelete, resource)
	if status != http.StatusConflict || !strings.Contains(body, `"name":"case 7"`) || !strings.Contains(body, `"years":20`) {
		t.Errorf("protected: %d %s", status, body)
	}
	if status, _ := send(t, http.MethodDelete, resource+"/series/"+files[0].key.SeriesInstanceUID+"/instances/"+files[0].key.SOPInstanceUID); status != http.StatusMethodNotAllowed {
		t.Errorf("DELETE of an instance: %d", status)
	}
	node.cigogne(exitOK, "retention", "set", "0", "--study", study, "-r", "pushed by mistake")
	node.cigogne(exitFailure, "delete", study, "-r", "pushed by mistake")
	node.cigogne(exitOK, "holds", "clear", study, "case 7", "-r", "the case is closed")
	status, body = send(t, http.MethodDelete, resource+"?reason=pushed+by+mistake")
	if status != http.StatusAccepted || !strings.Contains(body, `"undo":"/custody/deletions/`) {
		t.Fatalf("deleted: %d %s", status, body)
	}
	if status, _ := send(t, http.MethodDelete, resource); status != http.StatusNoContent {
		t.Errorf("deleted again: %d", status)
	}
	node.expectGone(study)
	node.kill()

	node = start("--allow-delete", "--delete-grace", "0", "--log-level", "info")
	node.expectGone(study)
	if d := node.deletions()[study]; d.State != "marked" || d.Instances != int64(len(files)) { // its grace is as it was asked for
		t.Errorf("%+v", d)
	}
	node.cigogne(exitOK, "deletions", "undo", node.deletions()[study].ID, "-r", "no mistake")
	allComeBack(t, node, files)

	server.Kill(t)
	node.cigogne(exitOK, "delete", study, "-r", "a mistake after all")
	node.expectGone(study)
	node.eventually("removed from the folder", func() bool { return len(filesBelow(t, backup, "studies/"+study)) == 0 })
	node.eventually("in trouble", func() bool { return metric(t, node, "cigogne_deletions_failing") == "1" })
	node.kill()
	node = start("--allow-delete", "--delete-grace", "0", "--log-level", "info")
	node.expectGone(study)
	server.Restart(t)
	node.eventually("removed", func() bool { return node.deletions()[study].State == "removed" })
	if left := filesBelow(t, server.Dir, "studies/"+study); len(left) != 0 {
		t.Errorf("still on the S3 server: %v", left)
	}
	for _, where := range []string{server.Dir, backup} {
		if notes := filesBelow(t, where, "deleted/"+study); len(notes) == 0 {
			t.Errorf("no note of the deletions in %s", where)
		}
	}
	checkSome(t, node, other.acknowledged, len(other.acknowledged), nil)
	if text := node.cigogne(exitOK, "deletions", "list"); !strings.Contains(text, "removed") || !strings.Contains(text, "undone") {
		t.Errorf("deletions: %s", text)
	}
	if !strings.Contains(node.log.String(), `msg=audit what="deletion ended"`) {
		t.Errorf("no audit line: %s", node.log)
	}
	node.stop()
	for _, check := range []string{"fsck", "archive verify", "archive rebuild-index", "fsck"} {
		out, err := command(t.Context(), append(append(strings.Fields(check), "--data-dir", dir), stores...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", check, err, out)
		}
	}
	node = start("--log-level", "error")
	node.expectGone(study)
	checkSome(t, node, other.acknowledged, len(other.acknowledged), nil)
	if d := node.deletions()[study]; d.State != "removed" {
		t.Errorf("rebuilt: %+v", d)
	}
	mustRun(t, storescu, "-aec", "CIGOGNE", "-R", "+sd", "+r", "127.0.0.1", strings.TrimPrefix(node.dimse, "127.0.0.1:"), folder)
	allComeBack(t, node, files) // what comes again is new
	node.archived()
	allComeBack(t, node, files)
}

// TestDeleteKilled kills the node again and again while it deletes: what was
// deleted stays so and is removed in the end, the rest is all there.
func TestDeleteKilled(t *testing.T) {
	t.Parallel()
	rounds := 8
	if testing.Short() {
		rounds = 3
	}
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(5, uint64(os.Getpid())))
	start := func() *process {
		return serve(t, dir, "--settle", "20ms", "--allow-delete", "--delete-grace", "200ms", "--log-level", "error")
	}
	node := start()
	node.cigogne(exitOK, "retention", "set", "0", "-r", "a test")
	kept := newLedger()
	gone := map[string]bool{}
	for round := range rounds {
		var doomed []string
		for i := range 4 {
			study := dicomtest.NewStudy(dicomtest.Options{Seed: uint64(1000 + 10*round + i), Modality: "CR", Instances: 3})
			l := kept
			if i%2 == 0 {
				l = newLedger()
				doomed = append(doomed, study.StudyInstanceUID)
			}
			if !pushSTOW(t.Context(), node, l, study.Instances) {
				t.Fatal("push failed")
			}
		}
		if round%2 == 0 {
			node.archived()
		}
		for _, study := range doomed {
			if status, body := send(t, http.MethodDelete, node.web+"/dicom-web/studies/"+study); status != http.StatusAccepted {
				t.Fatalf("deleted: %d %s", status, body)
			}
			gone[study] = true
		}
		timer := time.NewTimer(time.Duration(random.IntN(600)) * time.Millisecond)
		<-timer.C
		node.kill()
		node = start()
		for study := range gone {
			node.expectGone(study)
		}
	}
	node.eventually("all removed", func() bool {
		for study, d := range node.deletions() {
			if !gone[study] || d.State != "removed" {
				return false
			}
		}
		return true
	})
	checkSome(t, node, kept.acknowledged, len(kept.acknowledged), nil)
	node.archived()
	for study := range gone {
		if left := filesBelow(t, filepath.Join(dir, "archive"), "studies/"+study); len(left) != 0 {
			t.Errorf("still there: %v", left)
		}
	}
	node.stop()
	fsck(t, dir)
}

// TestDeleteInACluster: what is deleted, put back and held at one node is so at
// all; the removal is done by whoever leads, also when the one that led dies.
func TestDeleteInACluster(t *testing.T) {
	t.Parallel() // it waits more than it works
	r := newRegion(t)
	ids := []string{"n1", "n2", "n3"}
	grace := map[string]string{"n1": "1h", "n2": "1h", "n3": "0s"} // counts where somebody deletes
	flags := func(id string) []string {
		return []string{"--settle", "50ms", "--allow-delete", "--delete-grace", grace[id], "--log-level", "error"}
	}
	for _, id := range ids {
		r.start(id, flags(id)...)
	}
	r.voting()
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 77, Modality: "CR", Instances: 3})
	uid, l := study.StudyInstanceUID, newLedger()
	if !pushSTOW(t.Context(), r.nodes["n1"], l, study.Instances) {
		t.Fatal("push failed")
	}
	packs := func() int { return len(filesBelow(t, filepath.Join(r.dir, "archive"), "studies/"+uid)) }
	r.nodes["n1"].eventually("archived", func() bool { return packs() == 1 })

	r.nodes["n1"].cigogne(exitOK, "retention", "set", "0", "-r", "a test")
	r.nodes["n2"].cigogne(exitOK, "holds", "set", uid, "case 7", "-r", "a test")
	if status, body := send(t, http.MethodDelete, r.nodes["n3"].web+"/dicom-web/studies/"+uid); status != http.StatusConflict {
		t.Fatalf("deleted under a hold: %d %s", status, body)
	}
	r.nodes["n3"].cigogne(exitOK, "holds", "clear", uid, "case 7", "-r", "a test")
	r.nodes["n2"].cigogne(exitOK, "delete", uid, "-r", "a test")
	for _, id := range ids {
		r.nodes[id].expectGone(uid)
	}
	r.nodes["n3"].cigogne(exitOK, "deletions", "undo", r.nodes["n3"].deletions()[uid].ID, "-r", "a test")
	for _, id := range ids {
		checkSome(t, r.nodes[id], l.acknowledged, len(l.acknowledged), nil)
	}

	led := r.leader("n1")
	asked := "n3" // its time of grace is over at once
	if led == asked {
		if out, code := r.cluster("n1", "transfer-leader"); code != exitOK {
			t.Fatal(out)
		}
		led = r.leader("n1")
	}
	r.nodes[asked].cigogne(exitOK, "delete", uid, "-r", "a test")
	if led != asked {
		r.nodes[led].kill()
	}
	removed := func(id string) bool { return r.nodes[id].deletions()[uid].State == "removed" }
	r.nodes[asked].eventually("removed", func() bool { return removed(asked) && packs() == 0 })
	if led != asked {
		r.start(led, flags(led)...).ready()
	}
	for _, id := range ids {
		r.nodes[id].expectGone(uid)
		r.nodes[id].eventually("it knows", func() bool { return removed(id) })
	}
}
