package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// TestAFullDiskInACluster: a node whose disk is full takes nothing more, and
// gives what it has; the others go on without it, also when the lead changes
// hands meanwhile. When there is room it has all that it missed.
func TestAFullDiskInACluster(t *testing.T) {
	if testing.Short() {
		t.Skip("fills disks")
	}
	t.Parallel()
	r := newRegion(t)
	disk, _ := smallDisk(t, 256<<20, 1)
	if err := os.Symlink(disk, filepath.Join(r.dir, "n2")); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"n1", "n2", "n3"} {
		r.start(id, "--takeover-after", "1h") // and nothing is archived, which would make room
	}
	r.voting()
	l := newLedger()
	seed := uint64(0)
	takes := func(id, modality string) bool {
		t.Helper()
		seed++
		study := dicomtest.NewStudy(dicomtest.Options{Seed: seed, Modality: modality, Instances: 10})
		before := len(l.acknowledged)
		return pushSTOW(t.Context(), r.nodes[id], l, study.Instances) && len(l.acknowledged) == before+len(study.Instances)
	}
	goesOn := func(ids ...string) {
		t.Helper()
		for _, id := range ids {
			r.nodes[id].eventually(id+" takes a study", func() bool { return takes(id, "CR") })
		}
	}
	goesOn("n1", "n2", "n3")
	r.gives("n2", l.acknowledged)
	had := len(l.acknowledged)

	full := filepath.Join(disk, "full")
	fillDisk(t, full)
	for range 20 { // what was allocated before may still be filled
		if !takes("n2", "CT") {
			break
		}
	}
	if takes("n2", "CT") {
		t.Error("a node whose disk is full takes what it cannot keep")
	}
	goesOn("n1", "n3")
	for range 4 { // each time all nodes note who leads
		to := map[string]string{"n1": "n3", "n3": "n1", "n2": "n1"}[r.leader("n1")]
		if out, code := r.cluster("n1", "transfer-leader", to); code != exitOK {
			t.Fatal(out)
		}
		r.nodes["n1"].eventually(to+" leads", func() bool { return r.leader("n1") == to })
		goesOn("n1")
	}
	select {
	case <-r.nodes["n2"].done:
		t.Fatalf("the node ended\n%s", r.nodes["n2"].log)
	default:
	}
	t.Logf("%d acknowledged before the disk was full, %d since", had, len(l.acknowledged)-had)

	if err := os.Remove(full); err != nil {
		t.Fatal(err)
	}
	goesOn("n2")
	for id, p := range r.nodes {
		r.gives(id, l.acknowledged)
		p.eventually("it is copied", func() bool {
			return says(p, "cigogne_copies_live", "1") && says(p, "cigogne_copies_lacking_bytes", "0")
		})
	}
	checkRound(t, r.nodes["n2"], l)
	for id, p := range r.nodes {
		p.stop()
		fsck(t, filepath.Join(r.dir, id), "--archive", "dir://"+filepath.Join(r.dir, "archive"))
	}
}
