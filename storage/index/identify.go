package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/esante-alsace/cigogne/storage/dicom"
)

// identities applies what was decided about identities, in order.
func (c *change) identities(ctx context.Context, i *Identities) error {
	if i == nil {
		return nil
	}
	for j := range i.Changes {
		if err := c.identify(ctx, &i.Changes[j]); err != nil {
			return err
		}
	}
	for _, name := range i.Kept {
		if _, err := c.keepIdentity.ExecContext(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// identify applies one change, unless it is known or comes too late.
func (c *change) identify(ctx context.Context, i *IdentityChange) error {
	var known bool
	var last int64
	if err := errors.Join(
		c.hasIdentity.QueryRowContext(ctx, i.Name).Scan(&known),
		c.lastOfIdentity.QueryRowContext(ctx, i.Local.PatientID, i.Local.Issuer, i.Number, i.Authority.Key()).Scan(&last),
	); err != nil || known || i.Before != 0 && last >= i.Before {
		return err
	}
	record, err := c.codec.enc.Marshal(i)
	if err != nil {
		return err
	}
	var sequence int64
	if err := c.nextIdentity.QueryRowContext(ctx, i.Sequence).Scan(&sequence); err != nil {
		return err
	}
	_, err = c.putIdentity.ExecContext(ctx, sequence, i.Name, i.Local.Issuer, i.Local.PatientID, i.Authority.Key(), i.Number,
		i.Kind == IdentityQueued, record)
	if err != nil {
		return err
	}
	if i.Settles != "" {
		if _, err := c.settleIdentity.ExecContext(ctx, i.Settles); err != nil {
			return err
		}
	}
	c.happened(Event{Kind: EventIdentity, First: i.At, Last: i.At, IdentityChange: i.Name})
	return c.relink(ctx, i, sequence)
}

// relink makes or ends a link. What the studies of the local identity were
// complete as is another thing then.
func (c *change) relink(ctx context.Context, i *IdentityChange, sequence int64) (err error) {
	switch {
	case i.Kind == IdentityLinked:
		_, err = c.putLink.ExecContext(ctx, i.Local.PatientID, i.Local.Issuer, i.Authority.Key(), i.Number, i.Authority.Name, sequence)
	case i.Kind == IdentityUndone || i.Unlinks:
		_, err = c.dropLink.ExecContext(ctx, i.Local.PatientID, i.Local.Issuer)
	default:
		return c.opposes(ctx, i, sequence)
	}
	if err == nil {
		_, err = c.reopenPatient.ExecContext(ctx, i.Local.PatientID, i.Local.Issuer)
	}
	return err
}

// IdentityState is what must be known to decide about an identity.
type IdentityState struct {
	// Before is for the change that is decided now.
	Before int64
	// Link is the change by which the local identity is linked, or nil.
	Link *IdentityChange
	// Others are the changes by which other local identities are linked with
	// the number, in the order of coming.
	Others []IdentityChange
}

// mostLinks bounds the identities of one person that are looked at.
const mostLinks = 1024

// IdentityState reads, at one moment, what is known of a local identity and of
// a number.
func (x *Index) IdentityState(ctx context.Context, local, national PatientKey) (s IdentityState, err error) {
	tx, err := x.read.begin(ctx)
	if err != nil {
		return s, fmt.Errorf("index: %w", failed(err))
	}
	defer tx.end(ctx)
	err = each(ctx, tx, lastOfIdentity, []any{local.PatientID, local.Issuer, national.PatientID, national.Issuer}, func(rows *sql.Rows) error {
		err := rows.Scan(&s.Before)
		s.Before++
		return err
	})
	if err != nil {
		return s, err
	}
	changes, err := x.identityChanges(ctx, tx, `JOIN identity_link l ON l.change = c.id
		WHERE l.patient = ? AND l.issuer = ?`, local.PatientID, local.Issuer)
	if err != nil {
		return s, err
	}
	if len(changes) > 0 {
		s.Link = &changes[0]
	}
	s.Others, err = x.identityChanges(ctx, tx, `JOIN identity_link l ON l.change = c.id
		WHERE l.number = ? AND l.authority = ? AND NOT (l.patient = ? AND l.issuer = ?) ORDER BY c.id LIMIT ?`,
		national.PatientID, national.Issuer, local.PatientID, local.Issuer, mostLinks)
	return s, err
}

// identityChanges reads changes c of identity_change.
func (x *Index) identityChanges(ctx context.Context, q querier, rest string, args ...any) (changes []IdentityChange, err error) {
	err = each(ctx, q, `SELECT c.id, c.record FROM identity_change c `+rest, args, func(rows *sql.Rows) error {
		var c IdentityChange
		var record []byte
		var id int64
		if err := rows.Scan(&id, &record); err != nil {
			return err
		}
		err := x.codec.decodeRow(record, &c)
		c.Sequence = id
		changes = append(changes, c)
		return err
	})
	return changes, err
}

// IdentityChange finds a change by its Name; nil means that it was not
// applied.
func (x *Index) IdentityChange(ctx context.Context, name string) (*IdentityChange, error) {
	found, err := x.identityChanges(ctx, x.read, `WHERE c.name = ?`, name)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return &found[0], nil
}

// IdentityWaits tells whether a change was queued and is not settled.
func (x *Index) IdentityWaits(ctx context.Context, name string) (open bool, err error) {
	err = each(ctx, x.read, `SELECT open FROM identity_change WHERE name = ?`, []any{name}, func(rows *sql.Rows) error {
		return rows.Scan(&open)
	})
	return open, err
}

// LastIdentityChange is the last that was decided about whose a local identity
// is, or nil. Oppositions say nothing of that.
func (x *Index) LastIdentityChange(ctx context.Context, local PatientKey) (*IdentityChange, error) {
	found, err := x.identityChanges(ctx, x.read, `WHERE c.patient = ? AND c.issuer = ? AND c.number <> '' ORDER BY c.id DESC LIMIT 1`, local.PatientID, local.Issuer)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return &found[0], nil
}

// IdentityHistory lists at most limit changes of a local identity with a
// Sequence beyond after, in their order.
func (x *Index) IdentityHistory(ctx context.Context, local PatientKey, after int64, limit int) ([]IdentityChange, error) {
	return x.identityChanges(ctx, x.read, `WHERE c.patient = ? AND c.issuer = ? AND c.id > ? ORDER BY c.id LIMIT ?`,
		local.PatientID, local.Issuer, after, limit)
}

// QueuedIdentities lists at most limit changes that wait for a person, with a
// Sequence beyond after, in their order.
func (x *Index) QueuedIdentities(ctx context.Context, after int64, limit int) ([]IdentityChange, error) {
	return x.identityChanges(ctx, x.read, `WHERE c.open = 1 AND c.id > ? ORDER BY c.id LIMIT ?`, after, limit)
}

// UnkeptIdentities lists at most limit changes that lie in no archive yet, in
// their order.
func (x *Index) UnkeptIdentities(ctx context.Context, limit int) ([]IdentityChange, error) {
	return x.identityChanges(ctx, x.read, `WHERE c.kept = 0 ORDER BY c.id LIMIT ?`, limit)
}

// Linked lists the local identities that are linked with one of the numbers,
// by PatientID and issuer.
func (x *Index) Linked(ctx context.Context, numbers ...PatientKey) (local []PatientKey, err error) {
	for _, n := range numbers {
		err := each(ctx, x.read, `SELECT issuer, patient FROM identity_link WHERE number = ? AND authority = ? ORDER BY patient, issuer LIMIT ?`,
			[]any{n.PatientID, n.Issuer, mostLinks}, func(rows *sql.Rows) error {
				var k PatientKey
				err := rows.Scan(&k.Issuer, &k.PatientID)
				local = append(local, k)
				return err
			})
		if err != nil {
			return nil, err
		}
	}
	return local, nil
}

// NumberOf is what a local identity is linked with, or the zero PatientKey.
func (x *Index) NumberOf(ctx context.Context, local PatientKey) (n PatientKey, err error) {
	err = each(ctx, x.read, `SELECT authority, number FROM identity_link WHERE patient = ? AND issuer = ?`,
		[]any{local.PatientID, local.Issuer}, func(rows *sql.Rows) error {
			return rows.Scan(&n.Issuer, &n.PatientID)
		})
	return n, err
}

// nationalLink is what the patient of a study is linked with.
type nationalLink struct{ authority, number, name string }

// over lays the number over the study's other identifiers.
func (l nationalLink) over(study dicom.DataSet) dicom.DataSet {
	if l.number == "" {
		return study
	}
	item := dicom.DataSet{element(tagPatientID, "LO", l.number)}
	if l.name != "" {
		item = append(item, element(tagIssuerOfPatientID, "LO", l.name))
	}
	item = append(item, element(tagTypeOfPatientID, "CS", "TEXT"), dicom.Element{Tag: tagIssuerQualifiers, VR: "SQ", Items: []dicom.DataSet{{
		element(tagUniversalEntityID, "UT", l.authority), element(tagUniversalEntityIDType, "CS", "ISO"),
	}}})
	items := []dicom.DataSet{item}
	if stated := find(study, tagOtherPatientIDs); stated != nil {
		for _, i := range stated.Items {
			if PatientOf(i) != (PatientKey{Issuer: l.authority, PatientID: l.number}) {
				items = append(items, i)
			}
		}
	}
	return study.With(dicom.Element{Tag: tagOtherPatientIDs, VR: "SQ", Items: items})
}
