package gateway_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/index"
)

// TestNewerNotes: an index that is older than the archives, as one of a backup,
// does not know what was held or deleted since: that is told, and nothing of
// an index that is as it should be.
func TestNewerNotes(t *testing.T) {
	a := mem.New()
	k := keep(t, open(t, t.TempDir(), a), a)
	held, deleted := tiny(1, 1), tiny(2, 1)
	k.mustStore(held.Instances...)
	k.mustStore(deleted.Instances...)
	k.pass()
	k.delete(deleted.StudyInstanceUID)
	if _, err := k.custodian.Hold(t.Context(), "court", gateway.Request{StudyInstanceUID: held.StudyInstanceUID, By: "odile", Why: "asked for"}); err != nil {
		t.Fatal(err)
	}
	older, err := index.Open(t.Context(), index.Options{Path: filepath.Join(t.TempDir(), "index.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer older.Close()
	for _, c := range []struct {
		of   *index.Index
		want int
	}{{k.index, 0}, {k.rebuilt().index, 0}, {older, len(objects(t, a, "deleted/")) + len(objects(t, a, "protected/"))}} {
		told := 0
		v := gateway.NewVerifier(gateway.VerifierOptions{Index: c.of, Archives: k.each, Finding: func(f gateway.Finding) {
			if f.Fault != gateway.Newer {
				return
			}
			if told++; !strings.Contains(f.String(), ": note "+f.Key+" is newer: ") {
				t.Errorf("finding: %v", f)
			}
		}})
		if err := v.Strays(t.Context()); err != nil || told != c.want {
			t.Errorf("%d notes are newer, want %d, %v", told, c.want, err)
		}
	}
}
