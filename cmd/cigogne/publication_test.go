package main

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/gateway/dmp/manifest"
	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// lifeOf is where a study is in its life.
func lifeOf(t *testing.T, node *process, study string) *pb.Life {
	t.Helper()
	answer := &pb.StudiesGetLifeResponse{}
	rest(t, node, "/v1/studies/"+study+"/life", answer)
	return answer.Life
}

// awaitVersion waits until a study is complete as a version, with its manifest
// made if it is to have one.
func awaitVersion(t *testing.T, node *process, study string, version int64, manifest bool) *pb.Life {
	t.Helper()
	var l *pb.Life
	node.eventually("complete", func() bool {
		l = lifeOf(t, node, study)
		return !l.Open && l.Version == version && l.ManifestMade == manifest
	})
	return l
}

// TestStudyLife: a study is complete when it was quiet, or when somebody says
// so; its manifest is made when it has a national number, and made anew for
// what comes later and for what is deleted. The manifest is an instance of the
// study, says nothing of its patient, and survives kill and rebuild.
func TestStudyLife(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	flags := []string{"--sites", region(t), "--settle", "20ms", "--complete-after", "1s", "--allow-delete", "--log-level", "warn"}
	node := serve(t, dir, flags...)
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 9201, Modality: "CR", Instances: 2, Series: 2, PatientID: "4711", PatientName: "Muller^Odile"})
	uid := study.StudyInstanceUID
	late := study.Instances[len(study.Instances)-1]
	early := study
	early.Instances = study.Instances[:len(study.Instances)-1]
	sendAs(t, node, "HTP_PACS", early, "F")
	if l := awaitVersion(t, node, uid, 1, false); l.Cause != "quiet" || l.ManifestSopInstanceUid != "" {
		t.Errorf("before there is a number: %v", l)
	}

	node.identities(http.MethodPut, "/local/1.2.250.1.999.1/4711", asserted(nir, "MULLER"), http.StatusOK)
	first := awaitVersion(t, node, uid, 2, true)
	kos := theManifest(t, node, uid, first.ManifestSopInstanceUid)
	if strings.Count(kos, "Série-") != 2 || !strings.Contains(kos, odiles) || !strings.Contains(kos, "1670000025") {
		t.Errorf("%s", kos)
	}
	said := string(page(t, node, "/dicom-web/studies?StudyInstanceUID="+uid))
	if !strings.Contains(said, `"4711"`) || !strings.Contains(said, `"KO"`) {
		t.Errorf("the study with its manifest: %s", said)
	}
	if aside := page(t, node, "/dicom-web/conflicts"); string(bytes.TrimSpace(aside)) != "[]" {
		t.Errorf("kept aside: %s", aside)
	}

	sendAs(t, node, "HTP_PACS", dicomtest.Study{StudyInstanceUID: uid, Instances: []dicomtest.Instance{late}}, "F")
	second := awaitVersion(t, node, uid, 3, true)
	if second.Instances != int64(len(study.Instances)) || second.ManifestSopInstanceUid == first.ManifestSopInstanceUid {
		t.Errorf("what came later: %v", second)
	}
	own := manifest.Manifest{Study: manifest.Study{StudyInstanceUID: uid}}
	before := "/dicom-web/studies/" + uid + "/series/" + own.SeriesInstanceUID() + "/instances/" + first.ManifestSopInstanceUid + "/metadata"
	if said := string(page(t, node, before)); !strings.Contains(said, first.ManifestSopInstanceUid) { // it is there still, by its name
		t.Errorf("the manifest before: %s", said)
	}
	if told := string(page(t, node, "/v1/studies/"+uid+"/timeline")); strings.Count(told, "STEP_KIND_COMPLETE") != 3 {
		t.Errorf("timeline: %s", told)
	}

	node.archived()
	theManifest(t, node, uid, second.ManifestSopInstanceUid)
	node.kill()
	node = serve(t, dir, flags...)
	awaitVersion(t, node, uid, 3, true)
	node.stop()
	if err := os.RemoveAll(filepath.Join(dir, "index")); err != nil {
		t.Fatal(err)
	}
	if code, said := told(t, dir, "archive rebuild-index"); code != exitOK {
		t.Fatal(said)
	}
	node = serve(t, dir, flags...)
	if again := awaitVersion(t, node, uid, 3, true); again.ManifestSopInstanceUid != second.ManifestSopInstanceUid {
		t.Errorf("an index made anew: %v", again)
	}
	if aside := page(t, node, "/dicom-web/conflicts"); string(bytes.TrimSpace(aside)) != "[]" {
		t.Errorf("kept aside: %s", aside)
	}
}

// theManifest is what dsrdump and dcmdump say of a manifest that was retrieved.
func theManifest(t *testing.T, node *process, study, sop string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kos.dcm")
	body := page(t, node, "/dicom-web/studies/"+study+"?accept=application/zip")
	archive := filepath.Join(t.TempDir(), "study.zip")
	if err := os.WriteFile(archive, body, 0o600); err != nil {
		t.Fatal(err)
	}
	kos, err := exec.CommandContext(t.Context(), "unzip", "-p", archive, "*"+sop+"*").Output()
	if err != nil || len(kos) == 0 {
		t.Fatalf("the study has no %s: %v", sop, err)
	}
	if err := os.WriteFile(path, kos, 0o600); err != nil {
		t.Fatal(err)
	}
	mustRun(t, tool(t, "dsrdump"), path)
	return mustRun(t, tool(t, "dcmdump"), "+U8", "+L", path)
}

// TestPatientIDGivenAgain: a study that comes after the link and whose patient
// has other traits gets no manifest, and a person is told.
func TestPatientIDGivenAgain(t *testing.T) {
	t.Parallel()
	hers, his := patientOf(9701, "4711", 1), patientOf(9702, "4711", 1)
	node, _ := published(t, hers)
	sendAs(t, node, "HTP_PACS", his, "M")
	awaitVersion(t, node, his.StudyInstanceUID, 1, false)
	awaitVersion(t, node, hers.StudyInstanceUID, lifeOf(t, node, hers.StudyInstanceUID).Version, true)
	_, queue := node.identities(http.MethodGet, "/queue", "", http.StatusOK)
	if !strings.Contains(queue, "another sex") || strings.Count(queue, `"queued"`) != 1 {
		t.Errorf("%s", queue)
	}
}

// TestTooLongForAManifest: a study of more instances than a manifest may list is
// complete without one, and says why; others have theirs, and so has this one
// when it is short enough again.
func TestTooLongForAManifest(t *testing.T) {
	t.Parallel()
	node := serve(t, t.TempDir(), "--sites", region(t), "--complete-after", "300ms", "--manifest-max", "2", "--log-level", "warn")
	long := dicomtest.NewStudy(dicomtest.Options{Seed: 9211, Modality: "CR", Instances: 3, PatientID: "4711", PatientName: "Muller^Odile"})
	short := dicomtest.NewStudy(dicomtest.Options{Seed: 9212, Modality: "CR", Instances: 2, PatientID: "4711", PatientName: "Muller^Odile"})
	foreign := dicomtest.NewStudy(dicomtest.Options{Seed: 9213, Modality: "CR", Instances: 1, PatientID: "1", PatientName: "Muller^Odile"})
	node.identities(http.MethodPut, "/local/1.2.250.1.999.1/4711", asserted(nir, "MULLER"), http.StatusOK)
	for _, s := range []dicomtest.Study{long, short, foreign} {
		sendAs(t, node, "HTP_PACS", s, "F")
	}
	for _, c := range []struct {
		study     dicomtest.Study
		lacks     string
		instances int64
	}{{long, "too large", 3}, {short, "", 2}, {foreign, "identity", 1}} {
		var l *pb.Life
		node.eventually("complete, with its manifest if it is to have one", func() bool {
			l = lifeOf(t, node, c.study.StudyInstanceUID)
			return !l.Open && l.Version > 0 && l.Instances == c.instances && l.ManifestMade == (c.lacks == "")
		})
		if l.Lacks != c.lacks {
			t.Errorf("%v lacks %q, not %q", l, l.Lacks, c.lacks)
		}
	}
	if m := metric(t, node, `cigogne_study_versions_without_manifest_total{lacks="too large"}`); m == "0" || m == "" {
		t.Errorf("%q studies are too large", m)
	}
	if !strings.Contains(node.log.String(), `lacks="too large"`) {
		t.Error("the log does not say so")
	}
}
