package gateway_test

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/dmp/ins"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/index"
)

// TestOppositionByEitherName: a site's patient who opposes is found to, by
// whichever name of its issuer a study has them, and by whichever it was said.
func TestOppositionByEitherName(t *testing.T) {
	sites, err := gateway.NewSites([]gateway.Site{
		{SenderInfo: storage.SenderInfo{Name: "A", Issuer: storage.Issuer{Name: "HUS", UniversalID: "1.2.250.1.999.1"}}},
		{SenderInfo: storage.SenderInfo{Name: "B", Issuer: storage.Issuer{Name: "PACS", UniversalID: "1.2.250.1.999.2"}}},
		{SenderInfo: storage.SenderInfo{Name: "C", Issuer: storage.Issuer{Name: "PACS", UniversalID: "1.2.250.1.999.3"}}},
	}, false)
	if err != nil {
		t.Fatal(err)
	}
	n := region(t, mem.New())
	p := gateway.NewPatients(gateway.PatientsOptions{Index: n.index, Indexer: n.indexer, Proposer: n.proposer, Sites: sites, Logger: slog.New(slog.DiscardHandler)})
	of := func(issuer string) index.PatientKey { return index.PatientKey{Issuer: issuer, PatientID: "4711"} }
	for _, c := range []struct {
		said, ended string
		known, not  []string
	}{
		{"HUS", "1.2.250.1.999.1", []string{"HUS", "1.2.250.1.999.1"}, []string{"A", "1.2.250.1.999.2"}},
		{"1.2.250.1.999.1", "HUS", []string{"HUS", "1.2.250.1.999.1"}, []string{"PACS", "1.2.250.1.999.2"}},
		{"1.2.250.1.999.2", "1.2.250.1.999.2", []string{"1.2.250.1.999.2"}, []string{"PACS", "1.2.250.1.999.3"}},
		{"HCC", "HCC", []string{"HCC"}, []string{"HUS"}},
	} {
		if err := p.Oppose(t.Context(), of(c.said), true, "chief", ""); err != nil {
			t.Fatal(err)
		}
		for _, issuer := range c.known { // which is what a delivery asks
			if is, err := n.index.Opposes(t.Context(), of(issuer)); err != nil || !is {
				t.Errorf("%s was said, and %s does not oppose: %v", c.said, issuer, err)
			}
		}
		for _, issuer := range c.not {
			if is, err := n.index.Opposes(t.Context(), of(issuer)); err != nil || is {
				t.Errorf("%s was said, and %s opposes: %v", c.said, issuer, err)
			}
		}
		if is, err := p.Opposes(t.Context(), of(c.ended)); err != nil || !is {
			t.Errorf("%s was said, and asked about %s: %v", c.said, c.ended, err)
		}
		if err := p.Oppose(t.Context(), of(c.ended), false, "chief", ""); err != nil {
			t.Fatal(err)
		}
		for _, issuer := range c.known {
			if is, err := n.index.Opposes(t.Context(), of(issuer)); err != nil || is {
				t.Errorf("%s was ended, and %s opposes: %v", c.ended, issuer, err)
			}
		}
	}
	if err := p.Oppose(t.Context(), of("PACS"), true, "chief", ""); !errors.Is(err, storage.ErrConflict) {
		t.Errorf("the issuer of two sites: %v", err)
	}
}

// TestOppositionsSurviveARebuild: who does not want to be in the shared record
// is not forgotten with the index, however they are known, and who has changed
// their mind neither.
func TestOppositionsSurviveARebuild(t *testing.T) {
	a := mem.New()
	n := region(t, a)
	p := n.patients()
	local, national := index.PatientKey{Issuer: "HUS", PatientID: "4711"}, index.PatientKey{Issuer: ins.NIR, PatientID: odiles}
	mind := index.PatientKey{Issuer: "HCC", PatientID: "0815"}
	for _, c := range []struct {
		key     index.PatientKey
		opposes bool
	}{{local, true}, {local, true}, {national, true}, {mind, true}, {mind, false}, {index.PatientKey{Issuer: "HCC", PatientID: "1"}, false}} {
		if err := p.Oppose(t.Context(), c.key, c.opposes, "chief", "said so"); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []index.PatientKey{
		{Issuer: ins.NIR, PatientID: "279035121518900"}, {Issuer: ins.Test, PatientID: odiles}, {Issuer: "", PatientID: "1"}, {Issuer: "HUS"},
		{Issuer: storage.AssumedIssuer + "X", PatientID: "1"},
	} {
		if err := p.Oppose(t.Context(), key, true, "chief", ""); !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("%v: %v", key, err)
		}
	}
	if history, err := p.History(t.Context(), mind, 0, 10); err != nil || len(history) != 2 || history[1].Kind != index.IdentityUnopposed {
		t.Errorf("%+v, %v", history, err)
	}
	if err := gateway.NewIdentityKeeper(n.index, n.proposer, a, slog.New(slog.DiscardHandler)).Keep(t.Context()); err != nil {
		t.Fatal(err)
	}
	fresh := open(t, t.TempDir(), a)
	done, err := gateway.Rebuild(t.Context(), gateway.RebuildOptions{Index: fresh.index, Archives: []archive.Archive{a}, Journal: fresh.journal})
	if err != nil || done.Problems != 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	for key, want := range map[index.PatientKey]bool{local: true, national: true, mind: false} {
		if is, err := fresh.patients().Opposes(t.Context(), key); err != nil || is != want {
			t.Errorf("%v opposes: %t, %v", key, is, err)
		}
	}
}
