package index

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
)

func (s *statements) ofCommitments() []prepared {
	return []prepared{
		{&s.openCommitments, `SELECT count(*), coalesce(sum(asked), 0), coalesce(sum(ae = ?), 0) FROM commitment WHERE state < 2`},
		{&s.putCommitment, `INSERT INTO commitment (ae, uid, asked, state, due, record, list, failed) VALUES (?1, ?2, ?3, 0, 0, ?4, ?5, x'80')`},
		{&s.setCommitment, `UPDATE commitment SET state = ?2, due = ?3, record = ?4 WHERE id = ?1`},
		{&s.settleCommitment, `UPDATE commitment SET failed = ?2 WHERE id = ?1`},
		{&s.dropCommitment, `DELETE FROM commitment WHERE id = ?`},
		{&s.emptyCommitment, `UPDATE commitment SET list = x'80', failed = x'80' WHERE id = ?`},
		{&s.forgetCommitments, `DELETE FROM commitment WHERE state = 2 AND id NOT IN
			(SELECT id FROM commitment WHERE state = 2 ORDER BY id DESC LIMIT ?)`},
	}
}

// commitments applies steps of requests for storage commitment, in order.
func (c *change) commitments(ctx context.Context, steps []Commitment, stamp *Stamp) error {
	if stamp == nil {
		stamp = &Stamp{}
	}
	for i := range steps {
		if err := c.commitment(ctx, &steps[i], stamp.At); err != nil {
			return err
		}
	}
	return nil
}

func (c *change) commitment(ctx context.Context, step *Commitment, at int64) error {
	e, err := commitmentOf(ctx, c.codec, c.conn, step.ID)
	switch {
	case err != nil:
		return err
	case step.Step == AskCommitment && (e == nil || e.State == CommitmentEnded):
		return c.askCommitment(ctx, step, e, at)
	case e == nil:
		return nil
	case step.Step == SettleCommitment && e.State == CommitmentWaiting:
		return c.commitmentSettled(ctx, step, e, at)
	case step.Step == DelayCommitment && e.State == CommitmentSettled:
		e.Attempts++
		e.Trouble, e.Due = step.Why, step.Due
		return c.writeCommitment(ctx, e)
	case step.Step == EndCommitment && e.State == CommitmentSettled:
		e.State = CommitmentEnded
		if err := c.writeCommitment(ctx, e); err != nil {
			return err
		}
		if _, err := c.emptyCommitment.ExecContext(ctx, e.Sequence); err != nil {
			return err
		}
		_, err := c.forgetCommitments.ExecContext(ctx, commitmentsEnded)
		return err
	}
	return nil
}

// askCommitment enters a request, in place of one that has ended, unless there
// are too many.
func (c *change) askCommitment(ctx context.Context, step *Commitment, ended *CommitmentEntry, at int64) error {
	n, ok := countAsked(step.Asked)
	var open, references, ofOne int
	if err := c.openCommitments.QueryRowContext(ctx, step.ID.CallingAETitle).Scan(&open, &references, &ofOne); err != nil {
		return err
	}
	if !ok || open >= CommitmentsOpen || ofOne >= CommitmentsOfOne || references+n > CommitmentReferencesOpen {
		return nil
	}
	if ended != nil {
		if _, err := c.dropCommitment.ExecContext(ctx, ended.Sequence); err != nil {
			return err
		}
	}
	record, err := c.codec.enc.Marshal(CommitmentRecord{Origin: step.Origin, At: at, Digest: AskedDigest(step.Asked)})
	if err != nil {
		return err
	}
	list, err := c.codec.enc.Marshal(step.Asked)
	if err != nil {
		return err
	}
	_, err = c.putCommitment.ExecContext(ctx, step.ID.CallingAETitle, step.ID.TransactionUID, n, record, list)
	return err
}

func (c *change) commitmentSettled(ctx context.Context, step *Commitment, e *CommitmentEntry, at int64) error {
	failed, err := c.codec.enc.Marshal(step.Failed)
	if err != nil {
		return err
	}
	if _, err := c.settleCommitment.ExecContext(ctx, e.Sequence, failed); err != nil {
		return err
	}
	for _, s := range step.Committed {
		c.happened(Event{
			Kind: EventCommitted, StudyInstanceUID: s.StudyInstanceUID, SeriesInstanceUID: s.SeriesInstanceUID,
			Instances: s.Instances, Bytes: s.Bytes, First: cmp.Or(e.At, at), Last: at, Origin: e.Origin,
		})
	}
	e.State, e.Settled, e.Failed, e.Due = CommitmentSettled, at, len(step.Failed), 0
	return c.writeCommitment(ctx, e)
}

func (c *change) writeCommitment(ctx context.Context, e *CommitmentEntry) error {
	record, err := c.codec.enc.Marshal(e.CommitmentRecord)
	if err != nil {
		return err
	}
	_, err = c.setCommitment.ExecContext(ctx, e.Sequence, e.State, e.Due, record)
	return err
}

func commitmentsOf(ctx context.Context, co codec, q querier, rest string, args ...any) (all []CommitmentEntry, err error) {
	err = each(ctx, q, `SELECT id, ae, uid, asked, state, due, record FROM commitment `+rest, args, func(rows *sql.Rows) error {
		var e CommitmentEntry
		var record []byte
		if err := rows.Scan(&e.Sequence, &e.CallingAETitle, &e.TransactionUID, &e.References, &e.State, &e.Due, &record); err != nil {
			return err
		}
		err := co.decodeRow(record, &e.CommitmentRecord)
		all = append(all, e)
		return err
	})
	return all, err
}

func commitmentOf(ctx context.Context, co codec, q querier, id CommitmentID) (*CommitmentEntry, error) {
	all, err := commitmentsOf(ctx, co, q, `WHERE ae = ? AND uid = ?`, id.CallingAETitle, id.TransactionUID)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return &all[0], nil
}

// Commitment is one request; nil for one never heard of, or forgotten.
func (x *Index) Commitment(ctx context.Context, id CommitmentID) (*CommitmentEntry, error) {
	return commitmentOf(ctx, x.codec, x.read, id)
}

// Commitments lists at most limit requests that are open, in the order of
// coming and behind a Sequence.
func (x *Index) Commitments(ctx context.Context, after int64, limit int) ([]CommitmentEntry, error) {
	return commitmentsOf(ctx, x.codec, x.read, `WHERE state < 2 AND id > ? ORDER BY id LIMIT ?`, after, limit)
}

// CommitmentLists are what a request asks for, and what of it failed; neither
// for one that is not open.
func (x *Index) CommitmentLists(ctx context.Context, id CommitmentID) (asked []ClassInstances, failed []FailedReference, err error) {
	err = each(ctx, x.read, `SELECT list, failed FROM commitment WHERE ae = ? AND uid = ?`, []any{id.CallingAETitle, id.TransactionUID}, func(rows *sql.Rows) error {
		var list, failures sql.RawBytes
		if err := rows.Scan(&list, &failures); err != nil {
			return err
		}
		return errors.Join(x.codec.decodeRow(list, &asked), x.codec.decodeRow(failures, &failed))
	})
	return asked, failed, err
}

// CommitmentCounts are how many requests are open.
type CommitmentCounts struct {
	// Waiting wait for instances, Reporting for their asker to take the report,
	// of which Failing were tried in vain.
	Waiting, Reporting, Failing int64
	// Oldest is since when the oldest is open, in nanoseconds of Unix time; 0
	// for none.
	Oldest int64
}

// CommitmentCounts counts the requests that are open.
func (x *Index) CommitmentCounts(ctx context.Context) (n CommitmentCounts, err error) {
	open, err := x.Commitments(ctx, 0, CommitmentsOpen)
	for i := range open {
		switch open[i].State {
		case CommitmentWaiting:
			n.Waiting++
		default:
			n.Reporting++
		}
		if open[i].Attempts > 0 {
			n.Failing++
		}
		if at := open[i].At; n.Oldest == 0 || at < n.Oldest {
			n.Oldest = at
		}
	}
	return n, err
}
