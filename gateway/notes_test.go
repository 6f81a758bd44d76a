package gateway

import (
	"reflect"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

func someDeletion() *index.DeletionRecord {
	return &index.DeletionRecord{
		ID: "D1", StudyInstanceUID: "1.2", SeriesInstanceUID: "1.2.3", State: index.DeletionUndone, Revision: 7,
		Marked: index.Act{At: 1, By: "odile", Why: "twice <b>"}, Due: 2, Undone: index.Act{At: 3, By: "hans"}, Decided: 4, Removed: 5,
		Series: 1, Instances: 6, Through: []index.Position{{Journal: "J", Segment: 8, Offset: 9}},
		Packs: []index.DeletedPack{{SeriesInstanceUID: "1.2.3", PackID: "abc", Key: "studies/1.2/1.2.3/abc.zip"}},
		Aside: []storage.Digest{{1, 2, 3}},
	}
}

func someProtection() *index.ProtectionRecord {
	return &index.ProtectionRecord{
		StudyInstanceUID: "1.2", Revision: 7, Holds: []index.Hold{{Name: "case 7", Act: index.Act{At: 1, By: "judge", Why: "x"}}},
		Retention: &index.Retention{Years: 5, Act: index.Act{At: 2}},
	}
}

// TestNotes: what an archive keeps says all that the index knew.
func TestNotes(t *testing.T) {
	n, err := noteOfDeletion(someDeletion())
	if err != nil {
		t.Fatal(err)
	}
	if r, err := decodeDeletion(n.body); err != nil || !reflect.DeepEqual(r, someDeletion()) {
		t.Errorf("%+v, want %+v (%v)", r, someDeletion(), err)
	}
	if name, revision, ok := parseNoteKey(n.key()); !ok || name != "deleted/1.2/D1." || revision != 7 {
		t.Errorf("%s: %q, %d, %t", n.key(), name, revision, ok)
	}
	p, err := noteOfProtection(someProtection())
	if err != nil {
		t.Fatal(err)
	}
	if r, err := decodeProtection(p.body); err != nil || !reflect.DeepEqual(r, someProtection()) {
		t.Errorf("%+v, want %+v (%v)", r, someProtection(), err)
	}
	if name, revision, ok := parseNoteKey(p.key()); !ok || name != "protected/1.2/" || revision != 7 {
		t.Errorf("%s: %q, %d, %t", p.key(), name, revision, ok)
	}
	for _, key := range []string{"", "deleted/1.2/D1.json", "deleted/1.2/D1.x-1.json", "deleted/1.2/D1.-3-1.json", "studies/1.2/1.3/a.zip"} {
		if name, revision, ok := parseNoteKey(key); ok {
			t.Errorf("%q is a note: %q, %d", key, name, revision)
		}
	}
}

// FuzzNotes: whatever lies in an archive is no note, or says the same when it
// is written again.
func FuzzNotes(f *testing.F) {
	n, err := noteOfDeletion(someDeletion())
	if err != nil {
		f.Fatal(err)
	}
	p, err := noteOfProtection(someProtection())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(n.body)
	f.Add(p.body)
	f.Fuzz(func(t *testing.T, body []byte) {
		if r, err := decodeDeletion(body); err == nil {
			n, err := noteOfDeletion(r)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := decodeDeletion(n.body); err != nil || again.ID != r.ID || again.State != r.State || len(again.Packs) != len(r.Packs) {
				t.Fatalf("%+v, want %+v (%v)", again, r, err)
			}
		}
		if r, err := decodeProtection(body); err == nil {
			p, err := noteOfProtection(r)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := decodeProtection(p.body); err != nil || !reflect.DeepEqual(again, r) {
				t.Fatalf("%+v, want %+v (%v)", again, r, err)
			}
		}
	})
}
