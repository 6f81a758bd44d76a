package gateway_test

import (
	"encoding/json"
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/dmp/ins"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/index"
)

// TestDoubtIsQueued: whatever speaks against a link makes none.
func TestDoubtIsQueued(t *testing.T) {
	other := func(change func(*ins.Traits)) func(*gateway.Assertion) {
		return func(a *gateway.Assertion) { change(&a.Traits) }
	}
	for _, c := range []struct {
		name, site, id, matricule string
		change                    func(*gateway.Assertion)
		why                       string
	}{
		{"another birth name than before", "HCC", "0815", odiles, other(func(t *ins.Traits) { t.BirthName = "SCHMITT" }), "other traits"},
		{"another birth place than before", "HCC", "0815", odiles, other(func(t *ins.Traits) { t.BirthPlace = "68066" }), "birth place"},
		{"a man's studies", "GHR", "4711", odiles, nil, "birth date"},
		{"another number than before", "HUS", "4711", anyone, nil, "linked with another number"},
		{"provisional", "HCC", "0815", odiles, func(a *gateway.Assertion) { a.Status = ins.Provisional }, "not qualified: PROV"},
		{"doubtful, without traits", "HCC", "0815", odiles, func(a *gateway.Assertion) { a.Status, a.Traits = ins.Doubtful, ins.Traits{} }, "not qualified"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := region(t, mem.New())
			p := n.patients()
			n.assert(p, "HUS", "4711", odiles)
			change := c.change
			if change == nil {
				change = func(*gateway.Assertion) {}
			}
			made := n.assert(p, c.site, c.id, c.matricule, change)
			if made.Kind != index.IdentityQueued || !strings.Contains(made.Why, c.why) || made.By != "dr.who" || made.At == 0 {
				t.Fatalf("%+v", made)
			}
			if again := n.assert(p, c.site, c.id, c.matricule, change); again.Name != made.Name {
				t.Errorf("asserted again it is queued again: %+v", again)
			}
			queue, err := p.Queue(t.Context(), 0, 10)
			if err != nil || len(queue) != 1 || queue[0].Name != made.Name {
				t.Fatalf("queue: %+v, %v", queue, err)
			}
			n.wantStudies(by("PatientID", odiles, "IssuerOfPatientID", ins.NIR), "HUS 4711 20260301", "HUS 4711 20240105")
			settle(t, p, made)
		})
	}
}

// settle dismisses what was queued, and tries to link it.
func settle(t *testing.T, p *gateway.Patients, made index.IdentityChange) {
	t.Helper()
	linked, err := p.Settle(t.Context(), made.Name, true, "chief", "seen at the desk")
	if ins.Status(made.Status) != ins.Qualified {
		if !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("what is not qualified is linked: %+v, %v", linked, err)
		}
		if linked, err = p.Settle(t.Context(), made.Name, false, "chief", "no"); err != nil || linked.Kind != index.IdentityDismissed {
			t.Errorf("dismissed: %+v, %v", linked, err)
		}
	} else if number, nerr := p.Number(t.Context(), made.Local); err != nil || nerr != nil || number.Matricule != made.Number || linked.By != "chief" {
		t.Errorf("linked: %+v, %v, %v", linked, err, nerr)
	}
	if queue, err := p.Queue(t.Context(), 0, 10); err != nil || len(queue) != 0 {
		t.Errorf("queue: %+v, %v", queue, err)
	}
	if _, err := p.Settle(t.Context(), made.Name, false, "chief", ""); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("settled twice: %v", err)
	}
}

// TestALinkEnds when it is undone, and when the identity is no longer
// qualified.
func TestALinkEnds(t *testing.T) {
	n := region(t, mem.New())
	p := n.patients()
	local := index.PatientKey{Issuer: "HUS", PatientID: "4711"}
	if _, err := p.Undo(t.Context(), local, "chief", ""); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("undo of nothing: %v", err)
	}
	first := n.assert(p, "HUS", "4711", odiles)
	if again := n.assert(p, "HUS", "4711", odiles); again.Name != first.Name {
		t.Errorf("asserted again: %+v", again)
	}
	if undone, err := p.Undo(t.Context(), local, "chief", "wrong desk"); err != nil || undone.Kind != index.IdentityUndone || undone.Number != odiles {
		t.Fatalf("%+v, %v", undone, err)
	}
	n.wantStudies(by("PatientID", odiles, "IssuerOfPatientID", ins.NIR))
	n.assert(p, "HUS", "4711", odiles)
	if made := n.assert(p, "HUS", "4711", odiles, func(a *gateway.Assertion) { a.Status = ins.Doubtful }); made.Kind != index.IdentityQueued || !made.Unlinks {
		t.Errorf("doubtful by now: %+v", made)
	}
	n.wantStudies(by("PatientID", odiles, "IssuerOfPatientID", ins.NIR))
	history, err := p.History(t.Context(), local, 0, 10)
	if err != nil || len(history) != 4 || history[1].Why != "wrong desk" || history[3].Sequence <= history[2].Sequence {
		t.Errorf("history: %+v, %v", history, err)
	}
}

func TestAssertionsThatAreRefused(t *testing.T) {
	n := region(t, mem.New())
	p := n.patients()
	for name, spoil := range map[string]func(*gateway.Assertion){
		"a wrong key":           func(a *gateway.Assertion) { a.Matricule = "279035121518988" },
		"a test number":         func(a *gateway.Assertion) { a.OID = ins.Test },
		"no status":             func(a *gateway.Assertion) { a.Status = "" },
		"a trait missing":       func(a *gateway.Assertion) { a.Traits.BirthPlace = "" },
		"nobody":                func(a *gateway.Assertion) { a.By = "" },
		"no issuer":             func(a *gateway.Assertion) { a.Local.Issuer = "" },
		"an issuer nobody knew": func(a *gateway.Assertion) { a.Local.Issuer = "unknown:CT1" },
		"no PatientID":          func(a *gateway.Assertion) { a.Local.PatientID = " " },
		"a national identity":   func(a *gateway.Assertion) { a.Local.Issuer = ins.NIR },
	} {
		a := gateway.Assertion{Local: index.PatientKey{Issuer: "HUS", PatientID: "4711"}, Matricule: odiles, OID: ins.NIR, Status: ins.Qualified, Traits: odile(), By: "dr.who"}
		spoil(&a)
		if made, err := p.Assert(t.Context(), a); !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("%s: %+v, %v", name, made, err)
		}
	}
}

// TestTwoAtATime: of several who link one identity at the same time, with
// several numbers, one does; the others wait for a person.
func TestTwoAtATime(t *testing.T) {
	n := region(t, mem.New())
	p := n.patients()
	numbers := []string{odiles, anyone, "274075176079430", "180122A12345602"}
	made := make([]index.IdentityChange, len(numbers))
	var all sync.WaitGroup
	for i, m := range numbers {
		all.Go(func() {
			var err error
			a := gateway.Assertion{Local: index.PatientKey{Issuer: "HUS", PatientID: "4711"}, Matricule: m, OID: ins.NIR, Status: ins.Qualified, Traits: odile(), By: "dr.who"}
			if made[i], err = p.Assert(t.Context(), a); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	linked := 0
	for _, m := range made {
		if m.Kind == index.IdentityLinked {
			linked++
		}
	}
	if queue, err := p.Queue(t.Context(), 0, 10); err != nil || linked != 1 || len(queue) != len(numbers)-1 {
		t.Errorf("%d linked, %d queued, %v", linked, len(queue), err)
	}
}

// TestLinksSurviveARebuild: what was decided is in the archive, and an index
// made anew has the same links, queue and history.
func TestLinksSurviveARebuild(t *testing.T) {
	a := mem.New()
	n := region(t, a)
	p := n.patients()
	keeper := gateway.NewIdentityKeeper(n.index, n.proposer, a, slog.New(slog.DiscardHandler))
	n.assert(p, "HUS", "4711", odiles)
	n.assert(p, "HCC", "0815", odiles)
	if err := keeper.Keep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Undo(t.Context(), index.PatientKey{Issuer: "HCC", PatientID: "0815"}, "chief", ""); err != nil {
		t.Fatal(err)
	}
	queued := n.assert(p, "GHR", "4711", odiles)
	if err := keeper.Keep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left, err := n.index.UnkeptIdentities(t.Context(), 10); err != nil || len(left) != 0 {
		t.Fatalf("not kept: %+v, %v", left, err)
	}
	fresh := open(t, t.TempDir(), a)
	for range 2 { // the second time everything is known
		done, err := gateway.Rebuild(t.Context(), gateway.RebuildOptions{Index: fresh.index, Archives: []archive.Archive{a, a}, Journal: fresh.journal})
		if err != nil || done.Problems != 0 {
			t.Fatalf("%+v, %v", done, err)
		}
	}
	again := fresh.patients()
	for _, local := range []index.PatientKey{{Issuer: "HUS", PatientID: "4711"}, {Issuer: "HCC", PatientID: "0815"}, {Issuer: "GHR", PatientID: "4711"}} {
		want, err := p.History(t.Context(), local, 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		got, err := again.History(t.Context(), local, 0, 10)
		if err != nil || !reflect.DeepEqual(plain(got), plain(want)) || len(got) == 0 {
			t.Errorf("%v:\n got %+v, %v\nwant %+v", local, got, err, want)
		}
	}
	identities, err := again.Identities(t.Context(), odiles, ins.NIR)
	if err != nil || len(identities) != 1 || identities[0].Issuer != "HUS" {
		t.Errorf("linked: %v, %v", identities, err)
	}
	if queue, err := again.Queue(t.Context(), 0, 10); err != nil || len(queue) != 1 || queue[0].Name != queued.Name {
		t.Errorf("queue: %+v, %v", queue, err)
	}
	if left, err := fresh.index.UnkeptIdentities(t.Context(), 10); err != nil || len(left) != 0 {
		t.Errorf("to be kept again: %+v, %v", left, err)
	}
}

// plain is changes as the archive has them.
func plain(changes []index.IdentityChange) string {
	b, err := json.Marshal(changes)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// TestALinkThatWouldFindNothing: the patients of a site that has an identifier
// are recorded under that, and none is linked under the site's name for nothing.
func TestALinkThatWouldFindNothing(t *testing.T) {
	sites, err := gateway.NewSites([]gateway.Site{
		{SenderInfo: storage.SenderInfo{Name: "A", Issuer: storage.Issuer{Name: "HUS", UniversalID: "1.2.250.1.999.1"}}},
		{SenderInfo: storage.SenderInfo{Name: "B", Issuer: storage.Issuer{Name: "PACS", UniversalID: "1.2.250.1.999.2"}}},
		{SenderInfo: storage.SenderInfo{Name: "C", Issuer: storage.Issuer{Name: "PACS"}}},
	}, false)
	if err != nil {
		t.Fatal(err)
	}
	n := region(t, mem.New())
	p := gateway.NewPatients(gateway.PatientsOptions{Index: n.index, Indexer: n.indexer, Proposer: n.proposer, Sites: sites, Logger: slog.New(slog.DiscardHandler)})
	_, err = p.Assert(t.Context(), gateway.Assertion{
		Local: index.PatientKey{Issuer: "HUS", PatientID: "1"}, Matricule: odiles, OID: ins.NIR, Status: ins.Qualified, Traits: odile(), By: "dr.who",
	})
	if !errors.Is(err, storage.ErrInvalid) || !strings.Contains(err.Error(), "1.2.250.1.999.1") {
		t.Errorf("no study has the name: %v", err)
	}
	for _, c := range []struct{ what, issuer, id string }{
		{"its identifier", "1.2.250.1.999.1", "1"},
		{"a name that studies have", "HUS", "4711"},
		{"a name that is all that one of two sites has", "PACS", "1"},
		{"of no site", "HCC", "1"},
	} {
		if made := n.assert(p, c.issuer, c.id, odiles); made.Kind != index.IdentityLinked {
			t.Errorf("%s: %+v", c.what, made)
		}
	}
}
