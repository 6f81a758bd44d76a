package gateway_test

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/dmp/ins"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/index"
)

// TestWhatOthersDecided: a node that does not know yet what another was told of
// a patient, or of a study, does not take the contrary for said already, and
// tells nobody what is so no more.
func TestWhatOthersDecided(t *testing.T) {
	n := region(t, mem.New())
	k := keep(t, n)
	p, who := n.patients(), index.PatientKey{Issuer: "HUS", PatientID: "4711"}
	study := n.studyOf(who)
	// What is decided elsewhere is applied here when a read asks what others
	// decided, or else later.
	var decided []index.Batch
	apply := func(ctx context.Context) error {
		for _, b := range decided {
			if err := n.proposer.Propose(ctx, b); err != nil {
				return err
			}
		}
		decided = nil
		return nil
	}
	n.indexer.ReadThrough(apply, apply)
	elsewhere := func(b index.Batch) { decided = append(decided, b) }
	change := func(kind index.IdentityKind) index.Batch {
		return index.Batch{Identities: &index.Identities{Changes: []index.IdentityChange{{Name: rand.Text(), Kind: kind, Local: who, By: "chief", At: 1}}}}
	}
	protection := func(step index.ProtectionStep) index.Batch {
		return index.Batch{Protections: []index.Protection{{Step: step, StudyInstanceUID: study, Hold: "trial", Act: index.Act{At: 1, By: "chief"}}}}
	}
	oppose := func(opposes bool) {
		t.Helper()
		if err := p.Oppose(t.Context(), who, opposes, "chief", ""); err != nil {
			t.Fatal(err)
		}
		if err := apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		if is, err := n.index.Opposes(t.Context(), who); err != nil || is != opposes {
			t.Errorf("it was said that the patient opposes: %v, and they do: %v (%v)", opposes, is, err)
		}
	}
	elsewhere(change(index.IdentityOpposed))
	oppose(false)
	oppose(true)
	elsewhere(change(index.IdentityUnopposed))
	oppose(true)
	elsewhere(change(index.IdentityUnopposed))
	if is, err := p.Opposes(t.Context(), who); err != nil || is {
		t.Errorf("told that the patient opposes: %v, %v", is, err)
	}
	elsewhere(protection(index.SetHold))
	if kept, err := k.custodian.Kept(t.Context(), study); err != nil || len(kept.Holds) != 1 {
		t.Errorf("told that nothing holds the study: %+v, %v", kept, err)
	}
	elsewhere(protection(index.ClearHold))
	if held, err := k.custodian.OnHold(t.Context(), "", 10); err != nil || len(held) != 0 {
		t.Errorf("told what holds no more: %+v, %v", held, err)
	}
	elsewhere(protection(index.SetHold))
	if _, err := k.custodian.Release(t.Context(), "trial", gateway.Request{StudyInstanceUID: study, By: "chief"}); err != nil {
		t.Errorf("a hold of another node's is not released: %v", err)
	}
}

// TestNobodySaysWhatOthersDecided: while there is no leader a node takes nothing
// for said already by what it has of a moment ago.
func TestNobodySaysWhatOthersDecided(t *testing.T) {
	n := region(t, mem.New())
	k := keep(t, n)
	p, who := n.patients(), index.PatientKey{Issuer: "HUS", PatientID: "4711"}
	q := gateway.Request{StudyInstanceUID: n.studyOf(who), By: "chief"}
	if _, err := k.custodian.Hold(t.Context(), "trial", q); err != nil {
		t.Fatal(err)
	}
	made := n.assert(p, who.Issuer, who.PatientID, odiles)
	n.indexer.ReadThrough(
		func(context.Context) error { return nil }, // it is of a moment ago
		func(context.Context) error { return storage.ErrUnavailable },
	)
	for what, decide := range map[string]func() error{
		"that they do not oppose": func() error { return p.Oppose(t.Context(), who, false, "chief", "") },
		"whose the identity is": func() error {
			_, err := p.Assert(t.Context(), gateway.Assertion{Local: who, Matricule: odiles, OID: ins.NIR, Status: ins.Qualified, Traits: odile(), By: "dr.who"})
			return err
		},
		"that another is not linked": func() error {
			_, err := p.Undo(t.Context(), index.PatientKey{Issuer: "HUS", PatientID: "1"}, "chief", "")
			return err
		},
		"that nothing waits":       func() error { _, err := p.Settle(t.Context(), made.Name, false, "chief", ""); return err },
		"that no such hold stands": func() error { _, err := k.custodian.Release(t.Context(), "other", q); return err },
		"that there is no such study": func() error {
			_, err := k.custodian.Delete(t.Context(), gateway.Request{StudyInstanceUID: "1.2"})
			return err
		},
		"that no such deletion is": func() error { _, err := k.custodian.Undo(t.Context(), "other", "chief", ""); return err },
	} {
		if err := decide(); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("it was said already %s: %v", what, err)
		}
	}
}

// studyOf is a study of a patient.
func (n *node) studyOf(who index.PatientKey) string {
	n.t.Helper()
	for ds, err := range n.index.Search(n.t.Context(), index.Query{Level: index.Study, Patients: []index.PatientKey{who}}) {
		if err != nil {
			n.t.Fatal(err)
		}
		return ds.String(0x0020000D)
	}
	n.t.Fatal("no study")
	return ""
}
