package gateway_test

import (
	"context"
	"crypto/rand"
	"testing"

	"github.com/esante-alsace/cigogne/gateway"
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
	n.indexer.ReadThrough(apply)
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
