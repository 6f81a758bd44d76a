package gateway_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/index"
)

// TestDamagedDecisions: decisions about identities that one archive does not
// give as they were put are read from another; those that none does are told of
// and never entered: one bit may make another patient of one.
func TestDamagedDecisions(t *testing.T) {
	opposes, other := index.PatientKey{Issuer: "HUS", PatientID: "4711"}, index.PatientKey{Issuer: "HUS", PatientID: "4710"}
	for name, damage := range map[string]func(string) string{
		"not read":        func(string) string { return "{" },
		"another patient": func(s string) string { return strings.Replace(s, opposes.PatientID, other.PatientID, 1) },
		"cut off":         func(s string) string { return s[:strings.Index(s, "\n")+1] },
	} {
		t.Run(name, func(t *testing.T) {
			n := region(t, mem.New())
			if err := n.patients().Oppose(t.Context(), opposes, true, "chief", "said so"); err != nil {
				t.Fatal(err)
			}
			kept := mem.New()
			if err := gateway.NewIdentityKeeper(n.index, n.proposer, kept, slog.New(slog.DiscardHandler)).Keep(t.Context()); err != nil {
				t.Fatal(err)
			}
			key := objects(t, kept, "identities/")[0]
			object := whole(t, kept, key)
			for _, bad := range [][2]bool{{false, true}, {true, false}, {true, true}} {
				first, second := mem.New(), mem.New()
				for i, a := range []archive.Archive{first, second} {
					said := object
					if bad[i] {
						said = damage(object)
					}
					if _, err := a.Put(t.Context(), key, text(said)); err != nil {
						t.Fatal(err)
					}
				}
				fresh := open(t, t.TempDir(), first)
				done, err := gateway.Rebuild(t.Context(), gateway.RebuildOptions{
					Index: fresh.index, Archives: []archive.Archive{first, second}, Journal: fresh.journal,
				})
				if told := bad[0]; err != nil || (done.Problems > 0) != told {
					t.Errorf("damaged %v: %+v, %v", bad, done, err)
				}
				for key, want := range map[index.PatientKey]bool{opposes: !bad[0] || !bad[1], other: false} {
					if is, err := fresh.patients().Opposes(t.Context(), key); err != nil || is != want {
						t.Errorf("damaged %v: %v opposes: %t, %v", bad, key, is, err)
					}
				}
			}
		})
	}
}
