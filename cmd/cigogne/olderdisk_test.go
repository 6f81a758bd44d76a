package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// copyFolder keeps a folder as it is now.
func copyFolder(t *testing.T, from string) (kept string) {
	t.Helper()
	kept = filepath.Join(t.TempDir(), "kept")
	if err := os.CopyFS(kept, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return kept
}

// putBack puts a folder that was kept in the place of what it has become.
func putBack(t *testing.T, kept, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(kept)); err != nil {
		t.Fatal(err)
	}
}

// pushed pushes a study, and fails the test unless all of it is acknowledged.
func pushed(t *testing.T, p *process, l *ledger, seed uint64) {
	t.Helper()
	study := dicomtest.NewStudy(dicomtest.Options{Seed: seed, Modality: "CR", Instances: 5})
	p.eventually("a study is taken", func() bool {
		before := len(l.acknowledged)
		return pushSTOW(t.Context(), p, l, study.Instances) && len(l.acknowledged) == before+len(study.Instances)
	})
}

// TestAnOlderJournal: a node does not start with a journal as it was before
// what its index knows: what it took would lie where other instances did, and
// be listed nowhere.
func TestAnOlderJournal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	journal := filepath.Join(dir, "journal")
	l := newLedger()
	node := serve(t, dir, "--settle", "1h")
	pushed(t, node, l, 9701)
	node.stop()
	kept := copyFolder(t, journal)
	node = serve(t, dir, "--settle", "1h")
	pushed(t, node, l, 9702)
	checkRound(t, node, l) // it is in the index
	node.stop()
	putBack(t, kept, journal)
	if _, err := tryServe(t, dir); err == nil || !strings.Contains(err.Error(), "cigogne archive rebuild-index") {
		t.Fatalf("a node starts with a journal as it was before: %v", err)
	}
}

// TestANodeGoesBack: the disk of a node of a cluster is put back to what it was
// before, as with a snapshot of a machine. What it acknowledged since is given
// by all, and what it acknowledges from then on, too.
func TestANodeGoesBack(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	flags := []string{"--takeover-after", "1h"} // nobody knows that it was away
	for _, id := range []string{"n1", "n2", "n3"} {
		r.start(id, flags...)
	}
	r.voting()
	l := newLedger()
	pushed(t, r.nodes["n2"], l, 9711)
	r.nodes["n2"].stop()
	disk := filepath.Join(r.dir, "n2")
	kept := copyFolder(t, disk)
	r.start("n2", flags...)
	pushed(t, r.nodes["n2"], l, 9712)
	r.gives("n1", l.acknowledged) // the index has it
	r.nodes["n2"].stop()
	putBack(t, kept, disk)
	r.start("n2", flags...)
	pushed(t, r.nodes["n2"], l, 9713)
	for _, id := range []string{"n1", "n2", "n3"} {
		r.gives(id, l.acknowledged)
	}
}
