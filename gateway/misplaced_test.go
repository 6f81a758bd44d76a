package gateway_test

import (
	"path"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
)

// TestMisplacedPack: a pack that somebody copied to another key is told of, and
// no rebuild enters it: a deletion that removes packs from their places would
// not come to its end, and what was removed be shown again.
func TestMisplacedPack(t *testing.T) {
	a := mem.New()
	k := keep(t, open(t, t.TempDir(), a), a)
	study := tiny(1, 2)
	k.mustStore(study.Instances...)
	k.pass()
	key := objects(t, a, "studies/")[0]
	places := []string{"studies/" + path.Base(key), "studies/1.2/3.4/" + path.Base(key), "conflicts" + strings.TrimPrefix(key, "studies")}
	for _, place := range places {
		if _, err := a.Put(t.Context(), place, text(whole(t, a, key))); err != nil {
			t.Fatal(err)
		}
	}
	told := 0
	v := gateway.NewVerifier(gateway.VerifierOptions{Index: k.index, Archives: []archive.Archive{a}, Finding: func(f gateway.Finding) {
		if told++; f.Fault != gateway.Stray || !strings.Contains(f.What, "whose place is "+key) {
			t.Errorf("finding: %v", f)
		}
	}})
	if err := v.Strays(t.Context()); err != nil || told != len(places) {
		t.Errorf("%d findings, %v", told, err)
	}
	told = 0
	done, err := rebuildInto(t, gateway.RebuildOptions{Archives: k.each, Journal: k.journal, Problem: func(what string) {
		if told++; !strings.Contains(what, "whose place is "+key) {
			t.Errorf("problem: %s", what)
		}
	}})
	if err != nil || done.Packs != 1 || done.Packed != 2 || done.Problems != len(places) || told != len(places) {
		t.Errorf("%+v, %v", done, err)
	}
}
