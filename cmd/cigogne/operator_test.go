package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// told runs a command over dir that ends by itself, and returns its exit code
// and all that it says.
func told(t *testing.T, dir, name string, flags ...string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hangs)
	defer cancel()
	args := append(append(strings.Fields(name), "--data-dir", dir), flags...)
	if name == "serve" {
		args = append(args, "--dimse", "127.0.0.1:0", "--http", "127.0.0.1:0", "--log-level", "error")
	}
	var said bytes.Buffer
	code := run(ctx, args, nil, &said, &said)
	if ctx.Err() != nil {
		t.Fatalf("%v goes on instead of ending: %s", args, &said)
	}
	return code, said.String()
}

func refused(t *testing.T, dir, hint, name string, want int) {
	t.Helper()
	if code, said := told(t, dir, name); code != want || !strings.Contains(said, hint) {
		t.Errorf("%s: exit code %d, %s; want %d and the hint %q", name, code, said, want, hint)
	}
}

// filled makes a data directory with one study, and waits until it is in the
// archive when that is wanted.
func filled(t *testing.T, archived bool) string {
	t.Helper()
	dir, settle := t.TempDir(), "1h"
	if archived {
		settle = "20ms"
	}
	node := serve(t, dir, "--settle", settle, "--log-level", "error")
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 7700, Modality: "CR", Instances: 3})
	if !pushSTOW(t.Context(), node, newLedger(), study.Instances) {
		t.Fatal("push failed")
	}
	node.eventually("indexed", func() bool { return metric(t, node, `cigogne_index_held{kind="instances"}`) == "3" })
	if archived {
		node.archived()
	}
	if got := metric(t, node, "cigogne_archive_failing"); got != "0" {
		t.Errorf("cigogne_archive_failing %s", got)
	}
	node.stop()
	return dir
}

// TestIndexLost: a node whose index is gone or empty does not serve, fsck does
// not make one, and rebuild does.
func TestIndexLost(t *testing.T) {
	t.Parallel()
	dir := filled(t, true)
	at := filepath.Join(dir, "index")
	if err := os.RemoveAll(at); err != nil {
		t.Fatal(err)
	}
	refused(t, dir, "cigogne archive rebuild-index", "fsck", exitPartly)
	if _, err := os.Stat(at); err == nil {
		t.Error("fsck has made an index")
	}
	refused(t, dir, "cigogne archive rebuild-index", "serve", exitFailure)
	refused(t, dir, "cigogne archive rebuild-index", "serve", exitFailure) // also when the first has left something
	if err := os.RemoveAll(at); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(at, 0o700); err != nil {
		t.Fatal(err)
	}
	empty, err := index.Open(t.Context(), index.Options{Path: filepath.Join(at, "index.db")})
	if err != nil {
		t.Fatal(err)
	}
	empty.Close()
	refused(t, dir, "cigogne archive rebuild-index", "serve", exitFailure)
	if code, said := told(t, dir, "archive rebuild-index"); code != exitOK {
		t.Fatal(said)
	}
	if code, said := told(t, dir, "fsck"); code != exitOK || !strings.Contains(said, "3 instances") {
		t.Error(said)
	}
	serve(t, dir, "--log-level", "error").stop()
}

// TestOneAtATime: whoever comes while a process has the data directory leaves
// its work alone.
func TestOneAtATime(t *testing.T) {
	t.Parallel()
	dir := filled(t, false)
	j, err := journal.Open(t.Context(), journal.Options{Dir: filepath.Join(dir, "journal")})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	work := filepath.Join(dir, "spool", "rebuild", "half")
	if err := os.MkdirAll(work, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"serve", "archive rebuild-index", "fsck"} {
		refused(t, dir, "in use by another process", name, exitUnavailable)
		if _, err := os.Stat(work); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
}

// TestJournalDamaged: a node whose journal is damaged says so and what can be
// done, and goes on with what is left when it is told to.
func TestJournalDamaged(t *testing.T) {
	t.Parallel()
	dir := filled(t, false)
	serve(t, dir, "--log-level", "error").stop() // its segment vouches for the one before
	segments, err := filepath.Glob(filepath.Join(dir, "journal", "*.segment"))
	if err != nil || len(segments) == 0 {
		t.Fatal(err)
	}
	f, err := os.OpenFile(segments[0], os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("damaged"), 64); err != nil { // the first record
		t.Fatal(err)
	}
	f.Close()
	refused(t, dir, "--allow-damage", "serve", exitFailure)
	refused(t, dir, "--allow-damage", "archive rebuild-index", exitFailure)
	refused(t, dir, "not everything is well", "fsck", exitPartly)
	if code, said := told(t, dir, "archive rebuild-index", "--allow-damage"); code != exitOK || !strings.Contains(said, "2 journal records") {
		t.Errorf("rebuild: exit code %d, %s", code, said)
	}
	node := serve(t, dir, "--allow-damage", "--settle", "20ms", "--log-level", "error")
	node.ready()
	if got := metric(t, node, `cigogne_index_held{kind="instances"}`); got != "2" {
		t.Errorf("%s instances are left, want 2", got)
	}
	for seed, packs := range []string{"2", "3"} { // two passes at least
		study := dicomtest.NewStudy(dicomtest.Options{Seed: uint64(7710 + seed), Modality: "CR", Instances: 1})
		if !pushSTOW(t.Context(), node, newLedger(), study.Instances) {
			t.Fatal("push failed")
		}
		node.eventually("archived", func() bool {
			return metric(t, node, `cigogne_index_held{kind="packs"}`) == packs && metric(t, node, `cigogne_index_held{kind="live"}`) == "0"
		})
	}
	node.stop()
	if _, err := os.Stat(segments[0]); err != nil {
		t.Errorf("what is damaged was deleted: %v", err)
	}
}

// TestJournalOlderThanIndex: with a journal whose files are gone but whose name
// is kept new instances would take places that the index has passed.
func TestJournalOlderThanIndex(t *testing.T) {
	if testing.Short() {
		t.Skip("starts six processes after each other, as TestAnOlderJournal does some")
	}
	t.Parallel()
	dir := filled(t, true)
	for range 2 { // each start begins a segment
		serve(t, dir, "--log-level", "error").stop()
	}
	node := serve(t, dir, "--settle", "20ms", "--log-level", "error")
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 7701, Modality: "CR", Instances: 1})
	if !pushSTOW(t.Context(), node, newLedger(), study.Instances) {
		t.Fatal("push failed")
	}
	node.eventually("archived", func() bool { return metric(t, node, `cigogne_index_held{kind="packs"}`) == "2" })
	node.stop()
	segments, err := filepath.Glob(filepath.Join(dir, "journal", "*.segment"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range segments {
		if err := os.Remove(s); err != nil {
			t.Fatal(err)
		}
	}
	refused(t, dir, "cigogne archive rebuild-index", "serve", exitFailure)
	if code, said := told(t, dir, "archive rebuild-index"); code != exitOK {
		t.Fatal(said)
	}
	serve(t, dir, "--log-level", "error").stop()
}

// TestArchiveNotMounted: a node that finds an empty folder in the place of its
// archive does not begin another one there.
func TestArchiveNotMounted(t *testing.T) {
	t.Parallel()
	dir := filled(t, true)
	at := filepath.Join(dir, "archive")
	if err := os.Rename(at, at+".elsewhere"); err != nil {
		t.Fatal(err)
	}
	refused(t, dir, "there is no archive", "fsck", exitPartly)
	refused(t, dir, "is it mounted?", "serve", exitUnavailable)
	if err := os.RemoveAll(at); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(at+".elsewhere", at); err != nil {
		t.Fatal(err)
	}
	serve(t, dir, "--log-level", "error").stop()
}
