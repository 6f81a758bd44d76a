package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage/archive/archivetest/s3test"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// twice is a node whose packs lie in S3 and in a folder.
type twice struct {
	*process
	server *s3test.Server
	dir    string
	folder string
	flags  []string // --archive
	ledger *ledger
}

// serveTwice starts a node and archives so many studies.
func serveTwice(t *testing.T, studies int, flags ...string) *twice {
	t.Helper()
	n := &twice{server: s3test.Start(t), dir: t.TempDir(), folder: t.TempDir(), ledger: newLedger()}
	n.flags = []string{"--archive", s3URL(n.server), "--archive", "dir://" + n.folder}
	n.process = serve(t, n.dir, append(slices.Concat(n.flags, flags), "--settle", "1s", "--log-level", "error")...)
	for i := range studies {
		n.push(uint64(i + 1))
	}
	n.holds(studies)
	return n
}

// holds waits until so many packs are archived, and nothing else is left to
// be.
func (n *twice) holds(packs int) {
	n.t.Helper()
	n.eventually("archived", func() bool {
		return metric(n.t, n.process, `cigogne_index_held{kind="packs"}`) == strconv.Itoa(packs) &&
			metric(n.t, n.process, `cigogne_index_held{kind="live"}`) == "0"
	})
}

func (n *twice) push(seed uint64) {
	n.t.Helper()
	study := dicomtest.NewStudy(dicomtest.Options{Seed: seed, Modality: "CR", Instances: 5})
	if !pushSTOW(n.t.Context(), n.process, n.ledger, study.Instances) {
		n.t.Fatal("push failed")
	}
}

// packs are the files of the packs in each archive, sorted.
func (n *twice) packs() (inS3, inFolder []string) {
	n.t.Helper()
	for at, to := range map[string]*[]string{filepath.Join(n.server.Dir, s3test.Bucket, "packs"): &inS3, n.folder: &inFolder} {
		found, err := filepath.Glob(filepath.Join(at, "studies", "*", "*", "*.zip"))
		if err != nil {
			n.t.Fatal(err)
		}
		*to = found
	}
	return inS3, inFolder
}

// command runs cigogne archive, and returns its exit code and what it says.
func (n *twice) command(name string, flags ...string) (int, string) {
	n.t.Helper()
	return told(n.t, n.dir, "archive "+name, slices.Concat(n.flags, flags)...)
}

// flip changes a byte of a file in place, which an archive does not notice.
func flip(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, 1000); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, 1000); err != nil {
		t.Fatal(err)
	}
}

// TestArchiveCommands: beside a running node packs are listed and verified,
// what is wrong is named, and what is wrong in one archive is repaired from
// the other.
func TestArchiveCommands(t *testing.T) {
	t.Parallel()
	n := serveTwice(t, 3, "--scrub-rate", "0")
	if code, said := n.command("verify"); code != exitOK || !strings.Contains(said, "verified 3 packs in 6 copies with 30 instances") {
		t.Errorf("verify: exit code %d, %s", code, said)
	}
	code, said := n.command("list", "--json")
	listed := 0
	for line := range strings.Lines(said) {
		var event struct{ Event, State, Key string }
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if event.Event == "pack" && event.State == "indexed" && strings.HasPrefix(event.Key, "studies/") {
			listed++
		}
	}
	if code != exitOK || listed != 6 {
		t.Errorf("list: exit code %d, %d packs\n%s", code, listed, said)
	}

	inS3, inFolder := n.packs()
	flip(t, inS3[0])
	if err := os.Remove(inFolder[1]); err != nil {
		t.Fatal(err)
	}
	stray := filepath.Join(filepath.Dir(inFolder[2]), strings.Repeat("0", 32)+".zip")
	if err := os.WriteFile(stray, []byte("no pack"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, said = n.command("verify")
	for _, want := range []string{"is damaged", "is lost", "is stray", "3 findings"} {
		if code != exitPartly || !strings.Contains(said, want) {
			t.Errorf("verify: exit code %d, %s; want %q", code, said, want)
		}
	}
	if err := os.Remove(stray); err != nil {
		t.Fatal(err)
	}
	if code, said := n.command("repair", "--rate", "100MiB"); code != exitOK || !strings.Contains(said, "repaired 2 copies") {
		t.Errorf("repair: exit code %d, %s", code, said)
	}
	if code, said := n.command("verify"); code != exitOK {
		t.Errorf("verify after the repair: exit code %d, %s", code, said)
	}
	n.server.Kill(t)
	if code, said := n.command("verify"); code != exitUnavailable || strings.Count(said, "is unreachable") != 1 {
		t.Errorf("verify while an archive is away: exit code %d, %s", code, said)
	}
	n.server.Restart(t)
	checkSome(t, n.process, n.ledger.acknowledged, len(n.ledger.acknowledged), nil)
	n.stop()
	if code, said := n.command("verify"); code != exitOK { // without the node, too
		t.Errorf("verify without the node: exit code %d, %s", code, said)
	}
}

// TestScrubsBesides: what is damaged at rest is repaired without anybody's
// doing, by the background's round or because a reader came across it; the
// reader gets what was stored.
func TestScrubsBesides(t *testing.T) {
	t.Parallel()
	n := serveTwice(t, 2, "--scrub-rate", "100MiB", "--scrub-every", "0", "--cache-max", "0")
	inS3, inFolder := n.packs()
	flip(t, inFolder[0])
	n.eventually("repaired", func() bool { return metric(t, n.process, "cigogne_scrub_repaired_total") == "1" })
	n.stop()

	n.process = serve(t, n.dir, append(n.flags, "--scrub-rate", "100MiB", "--scrub-every", "720h", "--cache-max", "0", "--log-level", "error")...)
	flip(t, inS3[1])
	checkSome(t, n.process, n.ledger.acknowledged, len(n.ledger.acknowledged), nil)
	n.eventually("repaired", func() bool { return metric(t, n.process, "cigogne_scrub_repaired_total") == "1" })
	if got := metric(t, n.process, "cigogne_scrub_unrepaired"); got != "0" {
		t.Errorf("cigogne_scrub_unrepaired %s", got)
	}
	n.stop()
	if code, said := n.command("verify"); code != exitOK {
		t.Errorf("exit code %d, %s", code, said)
	}
}

// answers are what a node answers to every question about these instances,
// and every byte that it gives.
func answers(t *testing.T, node *process, l *ledger) map[string]string {
	t.Helper()
	all := map[string]string{}
	ask := func(resource, accept string) string {
		t.Helper()
		body, err := get(t.Context(), node.web+"/dicom-web/"+resource, accept)
		if err != nil {
			t.Fatal(err)
		}
		defer body.Close()
		b, err := io.ReadAll(body)
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(string(b), node.web, "")
	}
	list := func(resource string) {
		t.Helper()
		var found []json.RawMessage
		if err := json.Unmarshal([]byte(ask(resource, "application/dicom+json")), &found); err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(found, func(a, b json.RawMessage) int { return bytes.Compare(a, b) })
		all[resource] = fmt.Sprintf("%s", found)
	}
	for _, level := range []string{"studies", "series", "instances"} {
		list(level + "?includefield=all&limit=1000")
		list(level + "?PatientName=*&limit=1000")
	}
	list("conflicts")
	for k := range maps.Keys(l.acknowledged) {
		study := "studies/" + k.StudyInstanceUID
		instance := study + "/series/" + k.SeriesInstanceUID + "/instances/" + k.SOPInstanceUID
		all[instance] = ask(instance, "application/dicom")
		list(instance + "/metadata")
		if _, ok := all[study]; !ok {
			all[study] = ask(study, "application/zip")
			list(study + "/metadata")
		}
	}
	return all
}

// TestRebuildFromArchivesAlone: the data directory is gone with journal and
// index, and all that the node ever answered comes back from the archives.
func TestRebuildFromArchivesAlone(t *testing.T) {
	t.Parallel()
	n := serveTwice(t, 3, "--scrub-rate", "0")
	other := dicomtest.NewStudy(dicomtest.Options{Seed: 1, Modality: "CR", Instances: 5}).Instances[2]
	changed := slices.Clone(other.Part10())
	changed[len(changed)-1] ^= 1
	if status, _, err := stow(t.Context(), n.web, changed); err != nil || status != 202 { // kept aside
		t.Fatal(status, err)
	}
	multiframe := dicomtest.NewStudy(dicomtest.Options{Seed: 9, Frames: 3, Instances: 2})
	if !pushSTOW(t.Context(), n.process, n.ledger, multiframe.Instances) {
		t.Fatal("push failed")
	}
	n.holds(3 + 1 + 1)
	before := answers(t, n.process, n.ledger)
	n.stop()
	if err := os.RemoveAll(n.dir); err != nil {
		t.Fatal(err)
	}
	if code, said := told(t, n.dir, "serve", n.flags...); code != exitFailure || !strings.Contains(said, "archive rebuild-index") {
		t.Errorf("serve: exit code %d, %s", code, said)
	}
	if err := os.RemoveAll(n.dir); err != nil {
		t.Fatal(err)
	}
	if code, said := n.command("rebuild-index"); code != exitOK {
		t.Fatalf("exit code %d, %s", code, said)
	}
	n.process = serve(t, n.dir, append(n.flags, "--settle", "1s", "--log-level", "error")...)
	after := answers(t, n.process, n.ledger)
	if len(before) < 40 || len(after) != len(before) {
		t.Errorf("%d answers, and %d afterwards", len(before), len(after))
	}
	for question, want := range before {
		if got := after[question]; got != want {
			t.Errorf("%s:\n%.600q\nwas\n%.600q", question, got, want)
		}
	}
	n.push(4) // and it takes in what comes
	n.holds(6)
	n.stop()
	if code, said := told(t, n.dir, "fsck", n.flags...); code != exitOK {
		t.Errorf("exit code %d, %s", code, said)
	}
}

// TestRebuildWithoutArchive: an archive that is not mounted is an empty folder.
// A rebuild tells of the packs that the index before had and nobody has now;
// when the archive is back, all is.
func TestRebuildWithoutArchive(t *testing.T) {
	t.Parallel()
	dir, folder := t.TempDir(), filepath.Join(t.TempDir(), "mount")
	flags := []string{"--archive", "dir://" + folder}
	node := serve(t, dir, append(flags, "--settle", "50ms", "--log-level", "error")...)
	if !pushSTOW(t.Context(), node, newLedger(), dicomtest.NewStudy(dicomtest.Options{Seed: 7, Modality: "CR", Instances: 3}).Instances) {
		t.Fatal("push failed")
	}
	node.archived()
	node.stop()
	if err := os.Rename(folder, folder+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(folder, 0o750); err != nil {
		t.Fatal(err)
	}
	code, said := told(t, dir, "archive rebuild-index", flags...)
	if code != exitPartly || !strings.Contains(said, "no archive has it, and the index before did, with 3 instances in it") {
		t.Errorf("exit code %d, %s", code, said)
	}
	if err := errors.Join(os.RemoveAll(folder), os.Rename(folder+".away", folder)); err != nil {
		t.Fatal(err)
	}
	if code, said := told(t, dir, "archive rebuild-index", flags...); code != exitOK || !strings.Contains(said, "from 1 pack with 3 instances") {
		t.Errorf("exit code %d, %s", code, said)
	}
}

// TestRebuildFromNothing: where there is nothing, there is nothing to rebuild.
func TestRebuildFromNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mistyped")
	if code, said := told(t, dir, "archive rebuild-index"); code != exitUsage || !strings.Contains(said, "no node's data") {
		t.Errorf("exit code %d, %s", code, said)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("it was made")
	}
}
