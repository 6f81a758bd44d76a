package gateway_test

import (
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/index"
)

// TestDeleteConflicts: what is kept aside under the names of a deleted study
// stays, whether it lies in the journal or in a pack of its own; a rebuild
// keeps it, too.
func TestDeleteConflicts(t *testing.T) {
	for _, when := range []string{"in the journal", "in a pack"} {
		t.Run(when, func(t *testing.T) {
			a := mem.New()
			k := keep(t, open(t, t.TempDir(), a), a)
			study := tiny(1, 2)
			k.mustStore(study.Instances...)
			if when == "in a pack" {
				k.pass()
			} else if err := k.indexer.Await(t.Context()); err != nil {
				t.Fatal(err)
			}
			aside := study.Instances[0]
			altered := append([]byte(nil), aside.DataSet()...)
			altered[len(altered)-1] ^= 1
			if r, err := k.storeBytes(aside, altered); err != nil || r.Standing != gateway.Conflict {
				t.Fatalf("%+v, %v", r, err)
			}
			if when == "in a pack" {
				k.pass()
			}
			d := k.delete(study.StudyInstanceUID)
			keptAside := func(k *keeping) {
				t.Helper()
				found, err := k.reader.Instances(t.Context(), gateway.Selector{StudyInstanceUID: study.StudyInstanceUID, Conflicts: true})
				if err != nil || len(found) != 1 || string(k.read(found[0], found[0].About().DataSet())) != string(altered) {
					t.Fatalf("kept aside: %v, %v", found, err)
				}
			}
			keptAside(k)
			k.rebuilt().expectNothing(study.StudyInstanceUID)
			keptAside(k.rebuilt())
			k.end()
			k.expectState(d.ID, index.DeletionRemoved)
			keptAside(k)
			k.rebuilt().expectNothing(study.StudyInstanceUID)
			keptAside(k.rebuilt())
			k.pass()
			keptAside(k)
			k.checked()
		})
	}
}

// TestDeleteSharedPack: a pack in which a rebuild found an instance that is in
// conflict with one of another pack stays for its sake; the deletion waits,
// and says so. A rebuild shows neither more nor less.
func TestDeleteSharedPack(t *testing.T) {
	a := openDir(t)
	study := tiny(3, 2) // by its name, the pack of one is entered before that of other
	altered := append([]byte(nil), study.Instances[0].DataSet()...)
	altered[len(altered)-1] ^= 1
	one := open(t, t.TempDir(), a) // two nodes that knew nothing of each other
	one.mustStore(study.Instances[0])
	one.pass()
	other := open(t, t.TempDir(), a)
	if _, err := other.storeBytes(study.Instances[0], altered); err != nil {
		t.Fatal(err)
	}
	other.mustStore(study.Instances[1])
	other.pass()
	k := &keeping{node: other, each: []archive.Archive{a}, at: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), forgotten: map[string]bool{}}
	k = k.rebuilt()
	if _, err := k.custodian.Retain(t.Context(), new(int), gateway.Request{}); err != nil {
		t.Fatal(err)
	}
	conflict := func(k *keeping) []byte {
		t.Helper()
		found, err := k.reader.Instances(t.Context(), gateway.Selector{StudyInstanceUID: study.StudyInstanceUID, Conflicts: true})
		if err != nil || len(found) != 1 {
			t.Fatalf("kept aside: %v, %v", found, err)
		}
		return k.read(found[0], found[0].About().DataSet())
	}
	want := conflict(k)
	d := k.delete(study.StudyInstanceUID)
	if len(d.Packs) != 2 || d.Instances != 2 {
		t.Fatalf("deleted %+v", d)
	}
	k.undo(d.ID)
	if found, err := k.reader.Instances(t.Context(), gateway.Selector{StudyInstanceUID: study.StudyInstanceUID}); err != nil || len(found) != 2 {
		t.Fatalf("put back: %v, %v", found, err)
	}
	d = k.delete(study.StudyInstanceUID)
	k.end()
	if s := k.expectState(d.ID, index.DeletionDecided); s.Shared != 1 || s.Left != 1 || s.Trouble != nil {
		t.Errorf("status %+v", s)
	}
	if got := objects(t, a, "studies/"); len(got) != 1 {
		t.Errorf("packs %v", got)
	}
	for _, k := range []*keeping{k, k.rebuilt()} {
		k.expectNothing(study.StudyInstanceUID)
		if got := conflict(k); string(got) != string(want) {
			t.Error("what is kept aside is another")
		}
		k.sweep()
		if s := k.expectState(d.ID, index.DeletionDecided); s.Shared != 1 {
			t.Errorf("status %+v", s)
		}
	}
}
