package index_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
)

// outbox is a complete study of a linked patient in an index.
type outbox struct {
	t     *testing.T
	x     *index.Index
	uid   string
	local index.PatientKey
	at    int64
}

const somebody = "279035121518989"

func newOutbox(t *testing.T) *outbox {
	t.Helper()
	in := indextest.Population{Seed: 9, MaxSeries: 1, MaxInstances: 1}.Study(1)[0]
	in.At = index.Position{}
	in.Attributes = in.Attributes.With(indextest.Text(0x00100020, "LO", "4711"), indextest.Text(0x00100021, "LO", "HUS"))
	o := &outbox{t: t, x: open(t), uid: in.Key.StudyInstanceUID, local: index.PatientKey{Issuer: "HUS", PatientID: "4711"}, at: 10}
	o.apply(index.Batch{Received: []index.Instance{in}})
	o.identity("link", index.IdentityLinked)
	o.version(1)
	return o
}

func (o *outbox) apply(b index.Batch) {
	o.t.Helper()
	o.at++
	b.Stamp = lifeTime(o.at)
	encoded, err := index.EncodeBatch(b)
	if err != nil {
		o.t.Fatal(err)
	}
	decoded, err := index.DecodeBatch(encoded)
	if err != nil || !reflect.DeepEqual(decoded.Outbox, b.Outbox) || !reflect.DeepEqual(decoded.Life, b.Life) {
		o.t.Fatalf("%+v, %v", decoded, err)
	}
	apply(o.t, o.x, decoded)
}

// identity makes a change of the patient.
func (o *outbox) identity(name string, kind index.IdentityKind) {
	o.t.Helper()
	c := index.IdentityChange{Name: name, Kind: kind, Local: o.local, By: "me", At: o.at}
	if kind == index.IdentityLinked || kind == index.IdentityUndone {
		c.Authority, c.Number, c.Status = storage.Issuer{Name: "INS", UniversalID: "1.2.3", UniversalIDType: "ISO"}, somebody, "VALI"
	}
	o.apply(index.Batch{Identities: &index.Identities{Changes: []index.IdentityChange{c}}})
}

// version completes the study, and has its manifest made.
func (o *outbox) version(v int64) {
	o.t.Helper()
	l := lifeOf(o.t, o.x, o.uid)
	m := &index.Manifest{SOPInstanceUID: "2.25." + strings.Repeat("7", int(v)), Version: v, Number: index.PatientKey{Issuer: "1.2.3", PatientID: somebody}}
	o.apply(index.Batch{Life: &index.Life{
		Completions: []index.Completion{{StudyInstanceUID: o.uid, Revision: l.Revision, Version: v, Content: storage.Digest{byte(v)}, Instances: 1, Manifest: m}},
		Made:        []index.MadeManifest{{StudyInstanceUID: o.uid, SOPInstanceUID: m.SOPInstanceUID}},
	}})
}

// wants fails the test unless that is what is to be done next.
func (o *outbox) wants(act index.DeliveryAct, sop string) {
	o.t.Helper()
	out, err := o.x.Publication(o.t.Context(), o.uid)
	if err != nil {
		o.t.Fatal(err)
	}
	got := ""
	if out.Next.Manifest != nil {
		got = out.Next.Manifest.SOPInstanceUID
	}
	if out.Next.Act != act || got != sop {
		o.t.Fatalf("%q of %q is next, want %q of %q: %+v", out.Next.Act, got, act, sop, out.StudyLife)
	}
}

// begin begins a delivery and tells whether it was let.
func (o *outbox) begin(token, before string, act index.DeliveryAct, sop string) bool {
	o.t.Helper()
	o.apply(index.Batch{Outbox: []index.Delivery{{StudyInstanceUID: o.uid, Step: index.BeginDelivery, Token: token, Before: before, Act: act, SOPInstanceUID: sop}}})
	u := lifeOf(o.t, o.x, o.uid).Publication.Underway
	return u != nil && u.Token == token
}

func (o *outbox) end(token string, result index.DeliveryResult) {
	o.t.Helper()
	o.apply(index.Batch{Outbox: []index.Delivery{{StudyInstanceUID: o.uid, Step: index.EndDelivery, Token: token, Result: result, Due: 99e9, Why: "x"}}})
}

// TestOutbox: one delivery is under way at a time, what is to be done follows
// from what is known when it begins, and what may have been taken is withdrawn
// as what was.
func TestOutbox(t *testing.T) {
	o := newOutbox(t)
	const first, second, third = "2.25.7", "2.25.77", "2.25.777"
	o.wants(index.Publish, first)
	if o.begin("a", "", index.Publish, second) || o.begin("a", "", index.Replace, first) {
		t.Error("begun what is not to be done")
	}
	if !o.begin("a", "", index.Publish, first) || o.begin("b", "", index.Publish, first) || o.begin("b", "c", index.Publish, first) {
		t.Error("two are under way")
	}
	o.end("b", index.Delivered) // another's word
	if !o.begin("b", "a", index.Publish, first) {
		t.Error("it cannot be taken over")
	}
	o.end("a", index.Delivered) // too late
	if p := lifeOf(t, o.x, o.uid).Publication; p.Published != nil || p.Uncertain == nil {
		t.Errorf("%+v", p)
	}
	o.end("b", index.NotDelivered)
	o.identity("no", index.IdentityOpposed) // the one that was taken over may be there
	o.wants(index.Withdraw, first)
	if o.begin("c", "", index.Publish, first) || !o.begin("d", "", index.Withdraw, first) {
		t.Error("published in spite of an opposition")
	}
	o.end("d", index.Delivered)
	o.wants(index.NoAct, "")
	o.identity("yes", index.IdentityUnopposed)
	o.wants(index.NoAct, "") // it is open, and that manifest was withdrawn
	o.version(2)
	o.wants(index.Publish, second)
	o.begin("e", "", index.Publish, second)
	o.end("e", index.Delivered)
	o.wants(index.NoAct, "")
	if o.begin("f", "", index.NoAct, "") || lifeOf(t, o.x, o.uid).Due != index.NeverDue {
		t.Error("it is not settled")
	}
	o.reopen()
	o.version(3)
	o.wants(index.Replace, third)
	o.begin("g", "", index.Replace, third)
	o.end("g", index.MaybeDelivered)
	o.wants(index.Replace, third) // again
	o.identity("over", index.IdentityUndone)
	o.wants(index.Withdraw, third) // what may be there first
	o.begin("h", "", index.Withdraw, third)
	o.end("h", index.Delivered)
	o.wants(index.Withdraw, second)
	o.begin("i", "", index.Withdraw, second)
	o.end("i", index.DeliveryRefused)
	if l := lifeOf(t, o.x, o.uid); l.Due != index.RefusedDue || l.Publication.Trouble != "x" || o.begin("j", "", index.Withdraw, second) {
		t.Errorf("refused: %+v", l)
	}
	o.apply(index.Batch{Outbox: []index.Delivery{{StudyInstanceUID: o.uid, Step: index.AskDelivery}}})
	if !o.begin("j", "", index.Withdraw, second) {
		t.Error("it is not tried again when somebody asks")
	}
	o.end("j", index.Delivered)
	o.wants(index.NoAct, "")
	sound(t, o.x)
}

// reopen has another instance come.
func (o *outbox) reopen() {
	o.t.Helper()
	in := indextest.Population{Seed: 10, MaxSeries: 1, MaxInstances: 1}.Study(2)[0]
	in.At, in.Key.StudyInstanceUID = index.Position{}, o.uid
	in.Attributes = in.Attributes.With(indextest.Text(0x00100020, "LO", "4711"), indextest.Text(0x00100021, "LO", "HUS"))
	o.apply(index.Batch{Received: []index.Instance{in}})
}

// TestOppositionByNumber: who opposes by their national number opposes for all
// that is linked with it.
func TestOppositionByNumber(t *testing.T) {
	o := newOutbox(t)
	linked := o.local
	o.local = index.PatientKey{Issuer: "1.2.3", PatientID: somebody}
	o.identity("no", index.IdentityOpposed)
	o.wants(index.NoAct, "")
	if o.begin("a", "", index.Publish, "2.25.7") {
		t.Error("published in spite of an opposition")
	}
	if is, err := o.x.Opposes(t.Context(), o.local); err != nil || !is {
		t.Errorf("%t, %v", is, err)
	}
	if is, err := o.x.Opposes(t.Context(), linked); err != nil || is {
		t.Errorf("%t, %v", is, err)
	}
}

// TestFoundManifest: of a manifest that an index which was made anew finds, the
// shared record may have it: what stands is published as if it had not, what
// does not stand is withdrawn first, and what is known is not doubted.
func TestFoundManifest(t *testing.T) {
	sop := func(v int) string { return "2.25." + strings.Repeat("7", v) }
	number := index.PatientKey{Issuer: "1.2.3", PatientID: somebody}
	// found completes the study as a version, of which nothing was known.
	found := func(o *outbox, v int64, number index.PatientKey, of int) {
		o.t.Helper()
		o.apply(index.Batch{Life: &index.Life{Completions: []index.Completion{{
			StudyInstanceUID: o.uid, Revision: lifeOf(o.t, o.x, o.uid).Revision, Version: v, Content: storage.Digest{byte(v)}, Instances: 1,
			Manifest: &index.Manifest{SOPInstanceUID: sop(int(v)), Version: v, Number: index.PatientKey{Issuer: "1.2.3", PatientID: somebody}},
			Found:    &index.Manifest{SOPInstanceUID: sop(of), Version: int64(of), Number: number},
		}}, Made: []index.MadeManifest{{StudyInstanceUID: o.uid, SOPInstanceUID: sop(int(v))}}}})
	}
	fresh := func() *outbox {
		o := newOutbox(t)
		o.reopen()
		return o
	}

	o := fresh()
	found(o, 3, number, 3)
	o.wants(index.Publish, sop(3))
	o.identity("opposes", index.IdentityOpposed)
	o.wants(index.Withdraw, sop(3)) // it was being withdrawn when the index was lost, perhaps

	o = fresh()
	found(o, 3, index.PatientKey{}, 2)
	o.wants(index.Withdraw, sop(2))
	o.begin("one", "", index.Withdraw, sop(2))
	o.end("one", index.Delivered)
	o.wants(index.Publish, sop(3))

	o = newOutbox(t)
	o.begin("one", "", index.Publish, sop(1))
	o.end("one", index.Delivered)
	o.reopen()
	found(o, 3, index.PatientKey{}, 2)
	o.wants(index.Replace, sop(3))
}
