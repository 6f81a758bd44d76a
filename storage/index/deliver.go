package index

import (
	"context"
	"database/sql"
)

// outbox applies steps of deliveries, in order.
func (c *change) outbox(ctx context.Context, steps []Delivery, stamp *Stamp) error {
	if stamp == nil {
		stamp = &Stamp{}
	}
	for i := range steps {
		if err := c.deliver(ctx, &steps[i], stamp); err != nil {
			return err
		}
	}
	return nil
}

func (c *change) deliver(ctx context.Context, d *Delivery, stamp *Stamp) error {
	life, err := c.loadLife(ctx, d.StudyInstanceUID)
	if err != nil || life == nil {
		return err
	}
	switch d.Step {
	case AskDelivery:
		_, err := c.askPublication.ExecContext(ctx, d.StudyInstanceUID)
		return err
	case BeginDelivery:
		return c.beginDelivery(ctx, d, life, stamp)
	case EndDelivery:
		if u := life.Publication.Underway; u != nil && u.Token == d.Token {
			return c.endDelivery(ctx, d, life, stamp)
		}
	}
	return nil
}

// beginDelivery gives who proposed it the word, if it is still right: links
// and oppositions that are applied before count.
func (c *change) beginDelivery(ctx context.Context, d *Delivery, life *StudyLife, stamp *Stamp) error {
	p := &life.Publication
	if life.Due < 0 || p.Underway != nil && p.Underway.Token != d.Before {
		return nil
	}
	number, err := entitled(ctx, c.conn, d.StudyInstanceUID)
	if err != nil {
		return err
	}
	u := life.wanted(number)
	if u.Act != d.Act || u.Manifest != nil && u.Manifest.SOPInstanceUID != d.SOPInstanceUID {
		return nil
	}
	p.Uncertain = p.inDoubt() // nobody knows what came of the one before
	p.Underway = nil
	if u.Act == NoAct {
		return c.writePublication(ctx, life, NeverDue)
	}
	u.Token, u.Node, u.At = d.Token, stamp.Node, stamp.At
	p.Underway = &u
	return c.writePublication(ctx, life, 0)
}

func (c *change) endDelivery(ctx context.Context, d *Delivery, life *StudyLife, stamp *Stamp) error {
	p := &life.Publication
	u := p.Underway
	p.Underway = nil
	if d.Result == Delivered {
		c.delivered(life, u, stamp)
		return c.writePublication(ctx, life, 0)
	}
	if d.Result == MaybeDelivered && u.Act != Withdraw {
		p.Uncertain = u.Manifest
	}
	p.Attempts++
	p.Trouble = d.Why
	if p.Since == 0 {
		p.Since = stamp.At
	}
	due := d.Due
	if d.Result == DeliveryRefused {
		due = RefusedDue
	}
	return c.writePublication(ctx, life, due)
}

// delivered enters what the shared record has now.
func (c *change) delivered(life *StudyLife, u *Underway, stamp *Stamp) {
	p := &life.Publication
	e := Event{Kind: EventPublished, StudyInstanceUID: life.StudyInstanceUID, First: stamp.At, Last: stamp.At, Version: u.Manifest.Version}
	p.Attempts, p.Trouble, p.Since, p.At = 0, "", 0, stamp.At
	is := func(m *Manifest) bool { return m != nil && m.SOPInstanceUID == u.Manifest.SOPInstanceUID }
	if is(p.Uncertain) {
		p.Uncertain = nil
	}
	if u.Act == Withdraw {
		e.Kind, p.Withdrawn = EventWithdrawn, u.Manifest.SOPInstanceUID
		if is(p.Published) {
			p.Published = nil
		}
	} else {
		p.Published = u.Manifest
	}
	c.happened(e)
}

func (c *change) writePublication(ctx context.Context, life *StudyLife, due int64) error {
	record, err := c.codec.enc.Marshal(life.LifeRecord)
	if err != nil {
		return err
	}
	p := &life.Publication
	shared := p.Published != nil || p.Uncertain != nil || p.Underway != nil
	_, err = c.putPublication.ExecContext(ctx, life.StudyInstanceUID, shared, due, record)
	return err
}

// opposes applies what a patient wants.
func (c *change) opposes(ctx context.Context, i *IdentityChange, sequence int64) (err error) {
	switch i.Kind {
	case IdentityOpposed:
		_, err = c.oppose.ExecContext(ctx, i.Local.PatientID, i.Local.Issuer, sequence)
	case IdentityUnopposed:
		_, err = c.unoppose.ExecContext(ctx, i.Local.PatientID, i.Local.Issuer)
	default:
		return nil
	}
	if err == nil {
		_, err = c.dueOfPatient.ExecContext(ctx, i.Local.PatientID, i.Local.Issuer, i.Kind == IdentityUnopposed)
	}
	return err
}

// entitled is the national number under which a study may be in the shared
// record: that with which its patient is linked, when neither of the two
// opposes. It is the zero PatientKey for none, and for a study that is gone.
func entitled(ctx context.Context, q querier, study string) (number PatientKey, err error) {
	err = each(ctx, q, `SELECT l.authority, l.number FROM study s JOIN identity_link l ON l.patient = s.patient AND l.issuer = s.issuer
		WHERE s.uid = ? AND NOT EXISTS (SELECT 1 FROM opposition o WHERE o.patient = s.patient AND o.issuer = s.issuer)
		AND NOT EXISTS (SELECT 1 FROM opposition o WHERE o.patient = l.number AND o.issuer = l.authority)`, []any{study}, func(rows *sql.Rows) error {
		return rows.Scan(&number.Issuer, &number.PatientID)
	})
	return number, err
}

// Outgoing is a study to whose place in the shared record is to be seen.
type Outgoing struct {
	StudyLife
	// Next is what is to be done, when nothing is under way.
	Next Underway
	// Number is the national number under which the study may be in the shared
	// record now; the zero PatientKey for none.
	Number PatientKey
}

// Outgoing lists at most limit studies that are due until a moment, in
// nanoseconds of Unix time, by when and behind after when it is not nil.
func (x *Index) Outgoing(ctx context.Context, until int64, after *Outgoing, limit int) ([]Outgoing, error) {
	due, study := int64(0), ""
	if after != nil {
		due, study = after.Due, after.StudyInstanceUID
	}
	return x.outgoing(ctx, `WHERE due <> -1 AND due <= ? AND (due, study) > (?, ?) ORDER BY due, study LIMIT ?`, until, due, study, limit)
}

// Publications lists at most limit studies to whose place in the shared record
// is to be seen, those that it refused among them, behind a StudyInstanceUID.
func (x *Index) Publications(ctx context.Context, after string, limit int) ([]Outgoing, error) {
	return x.outgoing(ctx, `WHERE due <> -1 AND study > ? ORDER BY study LIMIT ?`, after, limit)
}

// Publication is what the shared record has of a study, and what is to be done
// next; nil for a study never heard of.
func (x *Index) Publication(ctx context.Context, study string) (*Outgoing, error) {
	all, err := x.outgoing(ctx, `WHERE study = ?`, study)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return &all[0], nil
}

func (x *Index) outgoing(ctx context.Context, rest string, args ...any) ([]Outgoing, error) {
	lives, err := livesOf(ctx, x.codec, x.read, rest, args...)
	out := make([]Outgoing, len(lives))
	for i := range lives {
		if err != nil {
			return nil, err
		}
		out[i].StudyLife = lives[i]
		var number PatientKey
		number, err = entitled(ctx, x.read, lives[i].StudyInstanceUID)
		out[i].Number, out[i].Next = number, lives[i].wanted(number)
	}
	return out, err
}

// Opposes tells whether a patient, as a site knows them or by their number,
// does not want to be in the shared record.
func (x *Index) Opposes(ctx context.Context, patient PatientKey) (opposes bool, err error) {
	err = each(ctx, x.read, `SELECT EXISTS (SELECT 1 FROM opposition WHERE patient = ? AND issuer = ?)`, []any{patient.PatientID, patient.Issuer},
		func(rows *sql.Rows) error { return rows.Scan(&opposes) })
	return opposes, err
}

// OutboxCounts are how many studies are to be seen to in the shared record.
type OutboxCounts struct {
	Waiting, Failing, Refused int64
	// Oldest is since when the oldest trouble lasts, or 0.
	Oldest int64
}

// mostCounted bounds the studies that OutboxCounts looks at one by one.
const mostCounted = 10_000

// OutboxCounts counts the outbox; of more than 10,000 it counts only these.
func (x *Index) OutboxCounts(ctx context.Context) (n OutboxCounts, err error) {
	lives, err := livesOf(ctx, x.codec, x.read, `WHERE due <> -1 ORDER BY due, study LIMIT ?`, mostCounted)
	for i := range lives {
		p := &lives[i].Publication
		switch {
		case lives[i].Due == RefusedDue:
			n.Refused++
		case p.Trouble != "":
			n.Failing++
		default:
			n.Waiting++
		}
		if p.Since > 0 && (n.Oldest == 0 || p.Since < n.Oldest) {
			n.Oldest = p.Since
		}
	}
	return n, err
}
