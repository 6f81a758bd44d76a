package gateway

import (
	"context"
	"errors"
	"fmt"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// CheckOptions are the stores that are checked against each other. The node
// that owns them must be stopped.
type CheckOptions struct {
	Index *index.Index
	// Archives are those in which packs lie, found by their names.
	Archives []archive.Archive
	Journal  *journal.Journal
	// Problem is told, in plain words, each thing that is wrong.
	Problem func(string)
}

// Checked counts what was checked.
type Checked struct {
	Records, Packs, Packed, Live, Waiting, Problems int
	// Torn counts the journal segments that end within an entry that was never
	// acknowledged, as after a crash: the next start cuts them.
	Torn int
}

// Check reads every journal record, every pack and every row of the index and
// compares them. It changes nothing. The error is of the check itself; what
// is wrong with the stores is told to Problem.
func Check(ctx context.Context, o CheckOptions) (Checked, error) {
	c := &check{CheckOptions: o, id: index.JournalID(o.Journal.ID())}
	for _, step := range []func(context.Context) error{c.index, c.journal, c.live, c.packs} {
		if err := step(ctx); err != nil {
			return c.done, err
		}
	}
	return c.done, nil
}

type check struct {
	CheckOptions
	id      index.JournalID
	done    Checked
	records map[journal.Position]storage.Digest // sound ones
}

func (c *check) problem(format string, args ...any) {
	c.done.Problems++
	if c.Problem != nil {
		c.Problem(fmt.Sprintf(format, args...))
	}
}

func (c *check) index(ctx context.Context) error {
	for what, err := range c.Index.Check(ctx) {
		if err != nil {
			return err
		}
		c.problem("index: %s", what)
	}
	return nil
}

// journal checks the records, and that the index has each one that it claims
// to have passed.
func (c *check) journal(ctx context.Context) error {
	applied, err := c.Index.Applied(ctx, c.id)
	if err != nil {
		return err
	}
	c.records = map[journal.Position]storage.Digest{}
	return c.Journal.Verify(ctx, func(e journal.Entry, damage error) error {
		if errors.Is(damage, journal.ErrTornTail) {
			c.done.Torn++
			return nil
		}
		c.done.Records++
		if damage != nil {
			c.problem("journal at %v: %v", e.Position, damage)
			return nil
		}
		r, err := readRecord(ctx, c.Journal, e)
		if err != nil {
			c.problem("journal at %v: %v", e.Position, err)
			return nil
		}
		c.records[e.Position] = r.Instance.Digest
		if e.Position.Compare(journalPosition(applied)) > 0 {
			c.done.Waiting++ // the next start will index it
			return nil
		}
		has, err := c.Index.Has(ctx, r.indexed(c.id, e.Position))
		if err != nil {
			return err
		}
		deleted, err := c.Index.DeletedAt(ctx, r.Instance.Key.StudyInstanceUID, r.Instance.Key.SeriesInstanceUID, indexPosition(c.id, e.Position))
		if err != nil {
			return err
		}
		if has != index.StandingDuplicate && !deleted {
			c.problem("journal at %v: instance %s was acknowledged but is not in the index", e.Position, r.Instance.Key.SOPInstanceUID)
		}
		return nil
	})
}

// live checks that every row that points into the journal finds its record.
func (c *check) live(ctx context.Context) error {
	rows, err := c.rows(ctx)
	if err != nil {
		return err
	}
	others := map[index.JournalID]bool{}
	states, err := c.Index.Journals(ctx)
	for _, s := range states {
		others[s.Journal] = s.Journal != c.id
	}
	if err != nil {
		return err
	}
	for _, in := range rows {
		c.done.Live++
		digest, ok := c.records[journalPosition(in.At)]
		switch {
		case others[in.At.Journal]: // another node's to check
		case in.At.Journal != c.id:
			c.problem("index: instance %s lies in journal %s, which is not this node's", in.Key.SOPInstanceUID, in.At.Journal)
		case !ok:
			c.problem("index: instance %s points to journal %v, where no sound record is", in.Key.SOPInstanceUID, journalPosition(in.At))
		case digest != in.Digest:
			c.problem("index: instance %s has another digest than its journal record at %v", in.Key.SOPInstanceUID, journalPosition(in.At))
		}
	}
	return nil
}

func (c *check) rows(ctx context.Context) ([]index.LiveInstance, error) {
	rows, err := c.Index.Live(ctx, index.Selector{})
	if err != nil {
		return nil, err
	}
	aside, err := c.Index.Live(ctx, index.Selector{Conflicts: true})
	return append(rows, aside...), err
}

// packs checks every pack that the index names, to the last byte, and that
// there are no others.
func (c *check) packs(ctx context.Context) error {
	v := NewVerifier(VerifierOptions{
		Index: c.Index, Archives: c.Archives, Instances: true,
		Finding: func(f Finding) { c.problem("%s", f) },
	})
	done, err := v.All(ctx)
	if err == nil {
		err = v.Strays(ctx)
	}
	c.done.Packs, c.done.Packed = done.Copies, done.Instances
	return err
}
