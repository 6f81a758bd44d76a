package index_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
)

// national is one of a few numbers.
func national(n int) (storage.Issuer, string) {
	return storage.Issuer{Name: "ASIP-SANTE-INS-NIR", UniversalID: "1.2.250.1.213.1.4.10", UniversalIDType: "ISO"}, fmt.Sprint("N", n%5)
}

// randomIdentities are decisions about the population's patients, some of them
// made with old knowledge, some entered twice.
func randomIdentities(rng *rand.Rand, p indextest.Population, serial *int) *index.Identities {
	var i index.Identities
	for range 1 + rng.IntN(3) {
		local := index.PatientOf(p.Study(rng.IntN(40))[0].Attributes)
		if local.Issuer == "" {
			continue
		}
		*serial++
		c := index.IdentityChange{
			Name: fmt.Sprint("change-", *serial-rng.IntN(2)), Kind: index.IdentityKind(max(1, rng.IntN(7)-2)), Local: local,
			By: "somebody", At: int64(*serial), Status: "VALI", Before: int64(rng.IntN(2) * rng.IntN(*serial+1)),
		}
		c.Authority, c.Number = national(rng.IntN(5))
		switch {
		case c.Kind == index.IdentityQueued:
			c.Unlinks = rng.IntN(3) == 0
		case rng.IntN(2) == 0:
			c.Settles = fmt.Sprint("change-", 1+rng.IntN(*serial))
		}
		i.Changes = append(i.Changes, c)
		if rng.IntN(4) == 0 {
			i.Kept = append(i.Kept, c.Name)
		}
	}
	return &i
}

// compareIdentities holds the links and the queue of both indexes against the
// model's.
func compareIdentities(t *testing.T, model *indextest.Model, p indextest.Population, both ...*index.Index) {
	t.Helper()
	linked := 0
	for i, x := range both {
		for n := range 40 {
			local := index.PatientOf(p.Study(n)[0].Attributes)
			got, err := x.NumberOf(t.Context(), local)
			if want := model.Number(local); err != nil || got != want {
				t.Errorf("index %d, %v: %v, %v, want %v", i, local, got, err, want)
			}
			if got == (index.PatientKey{}) {
				continue
			}
			linked++
			if all, err := x.Linked(t.Context(), got); err != nil || !slices.Contains(all, local) {
				t.Errorf("index %d: %v is not among those of %v: %v, %v", i, local, got, all, err)
			}
		}
		queue, err := x.QueuedIdentities(t.Context(), 0, 1000)
		var names []string
		for _, c := range queue {
			names = append(names, c.Name)
		}
		if want := model.Queue(); err != nil || !slices.Equal(names, want) {
			t.Errorf("index %d: queue %v, %v, want %v", i, names, err, want)
		}
	}
	if linked == 0 {
		t.Error("nobody is linked")
	}
}

// TestADecisionComesTooLate: one that was made without knowing of the last is
// not applied, whether that was of the identity or of the number.
func TestADecisionComesTooLate(t *testing.T) {
	x := open(t)
	a, b := index.PatientKey{Issuer: "A", PatientID: "1"}, index.PatientKey{Issuer: "B", PatientID: "2"}
	decide := func(name string, local index.PatientKey, number int, before int64) bool {
		c := index.IdentityChange{Name: name, Kind: index.IdentityLinked, Local: local, By: "x", Before: before}
		c.Authority, c.Number = national(number)
		apply(t, x, index.Batch{Identities: &index.Identities{Changes: []index.IdentityChange{c}}})
		made, err := x.IdentityChange(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return made != nil
	}
	for i, c := range []struct {
		local  index.PatientKey
		number int
		before int64
		want   bool
	}{{a, 1, 1, true}, {a, 2, 1, false}, {b, 1, 1, false}, {b, 2, 1, true}, {b, 1, 3, true}, {a, 1, 3, false}, {a, 1, 0, true}} {
		if got := decide(strconv.Itoa(i), c.local, c.number, c.before); got != c.want {
			t.Errorf("decision %d: applied %t", i, got)
		}
	}
}
