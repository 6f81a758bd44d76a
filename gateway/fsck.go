package gateway

import (
	"context"
	"errors"
	"fmt"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/journal"
	"github.com/esante-alsace/cigogne/storage/pack"
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
	for _, step := range []func(context.Context) error{c.index, c.journal, c.live, c.packs, c.strays} {
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
	known   map[string]bool                     // archive keys that the index names
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
	for _, in := range rows {
		c.done.Live++
		digest, ok := c.records[journalPosition(in.At)]
		switch {
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

// packs checks every pack that the index names, to the last byte.
func (c *check) packs(ctx context.Context) error {
	c.known = map[string]bool{}
	var packs []index.Pack
	for _, conflicts := range []bool{false, true} {
		some, err := c.Index.Packs(ctx, index.Selector{Conflicts: conflicts})
		if err != nil {
			return err
		}
		packs = append(packs, some...)
	}
	for _, p := range packs {
		for _, copied := range p.Copies {
			c.done.Packs++
			c.known[copied.Key] = true
			if err := c.pack(ctx, p, copied); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *check) pack(ctx context.Context, p index.Pack, copied index.PackArchive) error {
	at := c.named(copied.Archive)
	if at == nil {
		c.problem("index: pack %s lies in archive %s, which is not configured", copied.Key, copied.Archive)
		return nil
	}
	st, err := at.Stat(ctx, copied.Key)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		c.problem("archive: pack %s is missing; the index says that %d instances lie in it", copied.Key, p.Instances)
		return nil
	case err != nil:
		return err
	case st.Size != copied.Size:
		c.problem("archive: pack %s has %d bytes, not the %d that were written", copied.Key, st.Size, copied.Size)
		return nil
	}
	blob := &packBlob{archive: at, key: copied.Key, size: st.Size}
	directory, err := pack.ReadDirectory(ctx, blob)
	if err != nil {
		c.problem("archive: pack %s: %v", copied.Key, err)
		return nil
	}
	if len(directory.Entries) != p.Instances {
		c.problem("archive: pack %s holds %d instances, not the %d of the index", copied.Key, len(directory.Entries), p.Instances)
	}
	c.done.Packed += len(directory.Entries)
	for i := range directory.Entries {
		in := directory.Entries[i].Instance
		has, err := c.Index.Has(ctx, index.Instance{Instance: in})
		if err != nil {
			return err
		}
		if has != index.StandingDuplicate {
			c.problem("archive: pack %s holds instance %s, which the index does not have", copied.Key, in.Key.SOPInstanceUID)
		}
	}
	return pack.Verify(ctx, blob, func(what string) { c.problem("archive: pack %s: %s", copied.Key, what) })
}

// strays finds packs that no row of the index names. One that is planned is
// no harm: the next start finds it written and goes on.
func (c *check) strays(ctx context.Context) error {
	plans, err := c.Index.Planned(ctx)
	if err != nil {
		return err
	}
	for _, p := range plans {
		c.known[pack.Key(p.StudyInstanceUID, p.SeriesInstanceUID, p.PackID, p.Conflict)] = true
	}
	deleted, err := deletedKeys(ctx, c.Index)
	if err != nil {
		return err
	}
	for _, a := range c.Archives {
		for st, err := range a.List(ctx, "") {
			if err != nil {
				return err
			}
			switch state, was := deleted[st.Key]; {
			case !isPack(st.Key) || c.known[st.Key] || was && state != index.DeletionRemoved:
			case was:
				c.problem("archive: pack %s was deleted and removed, but lies in %s", st.Key, a)
			default:
				c.problem("archive: pack %s is not in the index; 'cigogne rebuild' would enter it", st.Key)
			}
		}
	}
	return nil
}

// named is the archive of that name, or nil.
func (c *check) named(name string) archive.Archive {
	for _, a := range c.Archives {
		if a.String() == name {
			return a
		}
	}
	return nil
}

// deletedKeys are the keys of all packs that were deleted, with what is to
// become of them.
func deletedKeys(ctx context.Context, x *index.Index) (map[string]index.DeletionState, error) {
	keys := map[string]index.DeletionState{}
	for after := int64(0); ; {
		records, err := x.Deletions(ctx, after, sweepList)
		if err != nil || len(records) == 0 {
			return keys, err
		}
		for _, r := range records {
			for _, p := range r.Packs {
				if r.State != index.DeletionUndone {
					keys[packKey(r.StudyInstanceUID, p)] = r.State
				}
			}
			after = r.Revision
		}
	}
}
