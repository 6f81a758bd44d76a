package index

import (
	"fmt"

	"github.com/esante-alsace/cigogne/storage"
)

// StudyLife.Due where it is no time.
const (
	NeverDue   = -1
	RefusedDue = -2
)

// Publication is what the shared record has of a study.
type Publication struct {
	// Published is the manifest that it has, by its own word.
	Published *Manifest `cbor:"1,keyasint,omitempty"`
	// Uncertain is one that it may have: it was sent, and no answer came.
	Uncertain *Manifest `cbor:"2,keyasint,omitempty"`
	// Underway is what is being sent; nil for nothing.
	Underway *Underway `cbor:"3,keyasint,omitempty"`
	// Attempts failed since the last that did not. Trouble is why the last did,
	// Since when the first.
	Attempts int64  `cbor:"4,keyasint,omitempty"`
	Trouble  string `cbor:"5,keyasint,omitempty"`
	Since    int64  `cbor:"6,keyasint,omitempty"`
	// At is when the shared record changed last.
	At int64 `cbor:"7,keyasint,omitempty"`
	// Withdrawn is the SOPInstanceUID of the manifest that was withdrawn last: it
	// is not published again, another version is.
	Withdrawn string `cbor:"8,keyasint,omitempty"`
}

// Underway is a delivery that was begun. Only who began it sends.
type Underway struct {
	Token string      `cbor:"1,keyasint"`
	Act   DeliveryAct `cbor:"2,keyasint"`
	// Manifest is published or withdrawn, Replaces the one that it takes the
	// place of.
	Manifest *Manifest `cbor:"3,keyasint"`
	Replaces *Manifest `cbor:"4,keyasint,omitempty"`
	Node     string    `cbor:"5,keyasint,omitempty"`
	At       int64     `cbor:"6,keyasint,omitempty"`
}

// DeliveryAct is what is done to the shared record.
type DeliveryAct int

// The acts.
const (
	NoAct DeliveryAct = iota
	Publish
	Replace
	Withdraw
)

// String is the act in one word, "" for none.
func (a DeliveryAct) String() string {
	switch a {
	case Publish:
		return "publish"
	case Replace:
		return "replace"
	case Withdraw:
		return "withdraw"
	case NoAct:
	}
	return ""
}

// MarshalText implements encoding.TextMarshaler.
func (a DeliveryAct) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// DeliveryStep is a step of a Delivery.
type DeliveryStep int

const (
	// BeginDelivery begins to do Act to the manifest SOPInstanceUID. It does
	// nothing unless that is what is to be done, and no other delivery is under
	// way than Before. With NoAct it settles that there is nothing to do.
	BeginDelivery DeliveryStep = iota + 1
	// EndDelivery tells what came of it.
	EndDelivery
	// AskDelivery has the shared record seen to now, also when it refused.
	AskDelivery
)

// DeliveryResult is what came of a delivery.
type DeliveryResult int

const (
	// Delivered means: the shared record says so.
	Delivered DeliveryResult = iota + 1
	// NotDelivered means: it did not take it; Due is when to try again.
	NotDelivered
	// MaybeDelivered means: no answer came.
	MaybeDelivered
	// DeliveryRefused means: it will never take it as it is.
	DeliveryRefused
)

// Delivery is a step in bringing a study's manifest to the shared record. One
// that does not fit does nothing, so that each can be proposed twice: who
// proposed it reads the StudyLife afterwards.
type Delivery struct {
	StudyInstanceUID string       `cbor:"1,keyasint"`
	Step             DeliveryStep `cbor:"2,keyasint"`
	// Token names the delivery, Before the one that it takes over.
	Token          string         `cbor:"3,keyasint,omitempty"`
	Before         string         `cbor:"4,keyasint,omitempty"`
	Act            DeliveryAct    `cbor:"5,keyasint,omitempty"`
	SOPInstanceUID string         `cbor:"6,keyasint,omitempty"`
	Result         DeliveryResult `cbor:"7,keyasint,omitempty"`
	Due            int64          `cbor:"8,keyasint,omitempty"`
	Why            string         `cbor:"9,keyasint,omitempty"`
}

func (d Delivery) validate() error {
	switch {
	case !storage.ValidUID(d.StudyInstanceUID), d.SOPInstanceUID != "" && !storage.ValidUID(d.SOPInstanceUID),
		d.Step < BeginDelivery || d.Step > AskDelivery, d.Act < NoAct || d.Act > Withdraw,
		d.Step == EndDelivery && (d.Result < Delivered || d.Result > DeliveryRefused),
		d.Step != AskDelivery && !validName(d.Token),
		len(d.Before) > nameBytes, len(d.Why) > actBytes, d.Due < 0:
		return fmt.Errorf("%w: a delivery", storage.ErrInvalid)
	}
	return nil
}

// publishable tells whether the manifest that stands can be published under a
// number.
func (l *StudyLife) publishable(number PatientKey) bool {
	m := l.Manifest
	return m != nil && !l.Open && !l.Owed && m.Number == number && m.SOPInstanceUID != l.Publication.Withdrawn
}

// inDoubt is a manifest that the shared record may have: also one that is just
// being sent, to who takes that over. There is at most one.
func (p *Publication) inDoubt() *Manifest {
	if u := p.Underway; u != nil && u.Act != Withdraw {
		return u.Manifest
	}
	return p.Uncertain
}

// wanted is what is to be done to the shared record, given whose the study is:
// number, the zero PatientKey for nobody who may be in it. The order keeps at
// most one manifest of a study there.
func (l *StudyLife) wanted(number PatientKey) Underway {
	p, stands := &l.Publication, l.Manifest
	gone := number == PatientKey{} || !l.Open && stands == nil // nothing may be there
	ready := !gone && l.publishable(number)
	if u := p.inDoubt(); u != nil && (gone || u.Number != number || ready && u.SOPInstanceUID != stands.SOPInstanceUID) {
		return Underway{Act: Withdraw, Manifest: u}
	}
	switch has := p.Published; {
	case has != nil && (gone || has.Number != number):
		return Underway{Act: Withdraw, Manifest: has}
	case !ready:
		return Underway{}
	case has == nil:
		return Underway{Act: Publish, Manifest: stands}
	case has.SOPInstanceUID != stands.SOPInstanceUID:
		return Underway{Act: Replace, Manifest: stands, Replaces: has}
	}
	return Underway{}
}
