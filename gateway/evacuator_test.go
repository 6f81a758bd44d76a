package gateway_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// shelf holds one copy.
type shelf struct {
	copy    *journal.Copy
	removed bool
}

func (s *shelf) Journals() []string { return []string{s.copy.ID()} }
func (s *shelf) Copy(id string) *journal.Copy {
	if s.removed || id != s.copy.ID() {
		return nil
	}
	return s.copy
}
func (s *shelf) Remove(string) error { s.removed = true; return s.copy.Close() }

// copied copies what is in a journal now.
func copied(t *testing.T, j *journal.Journal) *shelf {
	t.Helper()
	c, err := journal.OpenCopy(t.Context(), j.ID(), journal.Options{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := j.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, s := range j.Segments() {
		if s.Sealed {
			copySegment(t, j, c, s.Number)
		}
	}
	return &shelf{copy: c}
}

func copySegment(t *testing.T, j *journal.Journal, c *journal.Copy, number uint64) {
	t.Helper()
	f, err := j.Follow(number, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for {
		p, err := f.Next(t.Context())
		switch {
		case errors.Is(err, io.EOF):
			return
		case err != nil:
		case p.Kind == journal.PieceBytes:
			err = c.Write(t.Context(), number, p.Offset, p.Bytes)
		case p.Kind == journal.PieceLarge:
			err = errors.Join(c.WriteLarge(t.Context(), p.Large, p.Size, p.Body), p.Body.Close())
		default:
			err = c.End(t.Context(), number, p.Offset)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// takeover is a node that died, and another that holds its copy and has the
// same index.
type takeover struct {
	dead, lives *node
	shelf       *shelf
	evacuator   *gateway.Evacuator
}

// takeOver lets a node receive studies, plan the first of them and die before
// it has indexed the last.
func takeOver(t *testing.T, studies ...dicomtest.Study) *takeover {
	a := mem.New()
	x := &takeover{dead: open(t, t.TempDir(), a), lives: open(t, t.TempDir(), a)}
	shared := func(b index.Batch) error {
		_, err := x.lives.index.Apply(t.Context(), b)
		return err
	}
	stop := errors.New("no leader")
	x.dead.proposer.fail(nil, shared)
	last := len(studies) - 1
	x.dead.mustStore(studies[0].Instances...)
	if err := x.dead.indexer.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	x.dead.proposer.fail(func(b index.Batch) error { // the pack is in the archive, and nobody is told
		if len(b.Archived) > 0 {
			return stop
		}
		return nil
	}, shared)
	if err := x.dead.archiver.Pass(t.Context()); !errors.Is(err, stop) {
		t.Fatalf("the pass: %v", err)
	}
	for _, s := range studies[1:last] {
		x.dead.mustStore(s.Instances...)
	}
	if err := x.dead.indexer.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	x.dead.proposer.fail(func(index.Batch) error { return stop }, nil)
	x.dead.mustStore(studies[last].Instances...)
	x.shelf = copied(t, x.dead.journal)
	x.evacuator = gateway.NewEvacuator(gateway.EvacuatorOptions{
		Index: x.lives.index, Journal: x.lives.journal, Indexer: x.lives.indexer, Held: x.shelf, Logger: slog.New(slog.DiscardHandler),
	})
	return x
}

func (x *takeover) retire(t *testing.T) {
	t.Helper()
	_, err := x.lives.index.Apply(t.Context(), index.Batch{Journals: []index.JournalChange{
		{Journal: index.JournalID(x.dead.journal.ID()), Retired: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
}

// TestTakeOver: what lay in a dead node's journal, what it had planned and what
// it had not indexed is the other's, bit for bit and once; and then the copy
// goes.
func TestTakeOver(t *testing.T) {
	studies := []dicomtest.Study{tiny(1, 4), tiny(2, 3), tiny(3, 2)}
	x := takeOver(t, studies...)
	if err := x.evacuator.Pass(t.Context()); err != nil || x.shelf.removed {
		t.Fatalf("nothing is retired, but: %v, %v", err, x.shelf.removed)
	}
	x.retire(t)
	if left, err := x.evacuator.Left(t.Context()); err != nil || len(left) != 1 {
		t.Errorf("one journal is to be emptied, and left are %v, %v", left, err)
	}
	for range 3 {
		if err := x.evacuator.Pass(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := x.evacuator.Left(t.Context()); err != nil || !x.shelf.removed || len(left) > 0 {
		t.Errorf("the copy is removed: %v; left: %v, %v", x.shelf.removed, left, err)
	}
	x.dead.stop()
	for _, s := range studies {
		x.lives.expect(s.StudyInstanceUID, s.Instances...)
	}
	own := index.JournalID(x.lives.journal.ID())
	count := 0
	for in, err := range x.lives.index.Lying(t.Context(), own) {
		if err != nil {
			t.Fatal(err)
		}
		if count++; in.At.Journal != own {
			t.Errorf("%+v", in)
		}
	}
	if count != 9 {
		t.Errorf("%d instances lie in the journal, not 9", count)
	}
	x.lives.pass()
	if got := len(x.lives.packs()); got != 3 {
		t.Errorf("%d packs, want 3", got)
	}
	for _, s := range studies {
		x.lives.expect(s.StudyInstanceUID, s.Instances...)
	}
}

// TestTakeOverTwice: two that hold copies, one of them the node itself that is
// back with a new journal, take over at once: nothing is there twice.
func TestTakeOverTwice(t *testing.T) {
	studies := []dicomtest.Study{tiny(1, 4), tiny(2, 3), tiny(3, 2)}
	x := takeOver(t, studies...)
	x.retire(t)
	third := open(t, t.TempDir(), x.lives.archive)
	again := &shelf{copy: copied(t, x.dead.journal).copy}
	// Both apply all that either proposes, in one order.
	other := gateway.NewEvacuator(gateway.EvacuatorOptions{
		Index: x.lives.index, Journal: third.journal, Indexer: third.indexer, Held: again, Logger: slog.New(slog.DiscardHandler),
	})
	third.proposer.fail(func(b index.Batch) error {
		_, err := x.lives.index.Apply(context.WithoutCancel(t.Context()), b)
		return err
	}, nil)
	for range 4 {
		if err := errors.Join(x.evacuator.Pass(t.Context()), other.Pass(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	if !x.shelf.removed || !again.removed {
		t.Errorf("removed: %v, %v", x.shelf.removed, again.removed)
	}
	n := 0
	for _, j := range []*journal.Journal{x.lives.journal, third.journal, x.dead.journal} {
		for _, err := range x.lives.index.Lying(t.Context(), index.JournalID(j.ID())) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; j == x.dead.journal {
				t.Error("an instance lies in the retired journal")
			}
		}
	}
	if n != 9 {
		t.Errorf("%d instances, want 9", n)
	}
}

// TestTakeOverDamaged: what is damaged in the copy is left, and the copy with
// it; the rest is taken over.
func TestTakeOverDamaged(t *testing.T) {
	studies := []dicomtest.Study{tiny(1, 4), tiny(2, 3), tiny(3, 2)}
	x := takeOver(t, studies...)
	x.retire(t)
	var at index.Position
	for in := range x.lives.index.Lying(t.Context(), index.JournalID(x.dead.journal.ID())) {
		at = in.At
	}
	dir := t.TempDir()
	if err := x.shelf.copy.Close(); err != nil {
		t.Fatal(err)
	}
	damagedCopy(t, x.dead, dir, at)
	c, err := journal.OpenCopy(t.Context(), x.dead.journal.ID(), journal.Options{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	x.shelf.copy = c
	for range 3 {
		if err := x.evacuator.Pass(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if x.shelf.removed {
		t.Error("a copy with what is nowhere else was removed")
	}
	n := 0
	for range x.lives.index.Lying(t.Context(), index.JournalID(x.lives.journal.ID())) {
		n++
	}
	if n != 8 {
		t.Errorf("%d instances were taken over, want 8", n)
	}
}

// damagedCopy copies a journal's files and flips a bit of an entry's payload.
func damagedCopy(t *testing.T, n *node, dir string, at index.Position) {
	t.Helper()
	from := filepath.Join(n.dir, "journal")
	if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	e, err := n.journal.Header(t.Context(), journal.Position{Segment: at.Segment, Offset: at.Offset})
	if err != nil {
		t.Fatal(err)
	}
	segments, err := filepath.Glob(filepath.Join(dir, "*.segment"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range segments {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if at := at.Offset + 64 + int64(len(e.Header)) + e.Size/2; int64(len(b)) > at {
			b[at] ^= 1
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal(storage.ErrNotFound)
}

// TestTakeOverDeleted: what is deleted while it is received again stays deleted.
func TestTakeOverDeleted(t *testing.T) {
	study := tiny(1, 4)
	x := takeOver(t, study, tiny(2, 1), tiny(3, 1))
	x.retire(t)
	deletion := index.Batch{Deletions: []index.Deletion{{
		ID: "D", Step: index.MarkDeletion, StudyInstanceUID: study.StudyInstanceUID, Act: index.Act{At: 1, By: "test"}, Due: 1,
	}}}
	retention := index.Batch{Protections: []index.Protection{{Step: index.SetRetention, Act: index.Act{At: 1, By: "test"}}}}
	if _, err := x.lives.index.Apply(t.Context(), retention); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	x.lives.proposer.fail(func(b index.Batch) (err error) { // it is durable, and not indexed yet
		if len(b.Received) > 0 {
			once.Do(func() { _, err = x.lives.index.Apply(context.WithoutCancel(t.Context()), deletion) })
		}
		return err
	}, nil)
	for range 3 {
		if err := x.evacuator.Pass(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if d, err := x.lives.index.Deletion(t.Context(), "D"); err != nil || d.State != index.DeletionMarked {
		t.Fatalf("the deletion: %+v, %v", d, err)
	}
	if found, err := x.lives.reader.Instances(t.Context(), gateway.Selector{StudyInstanceUID: study.StudyInstanceUID}); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("%d instances of a deleted study are given (%v)", len(found), err)
	}
	if !x.shelf.removed {
		t.Error("the copy stays")
	}
}

// TestTakeOverUncopied: what was received again and lies on too few nodes yet is
// no reason to give up the copy that it came from.
func TestTakeOverUncopied(t *testing.T) {
	in := tiny(1, 1).Instances[0]
	dead, lives := open(t, t.TempDir(), mem.New()), open(t, t.TempDir(), mem.New())
	away := func(index.Batch) error { return storage.ErrUnavailable }
	dead.proposer.fail(away, nil)
	dead.mustStore(in)
	held := copied(t, dead.journal)
	if _, err := lives.index.Apply(t.Context(), index.Batch{Journals: []index.JournalChange{
		{Journal: index.JournalID(dead.journal.ID()), Retired: true},
	}}); err != nil {
		t.Fatal(err)
	}
	// As in a cluster, nothing is indexed before it has its copies.
	lives.proposer.fail(away, nil)
	evacuator := func(to gateway.Copies) *gateway.Evacuator {
		return gateway.NewEvacuator(gateway.EvacuatorOptions{
			Index: lives.index, Proposer: lives.proposer, Journal: lives.journal, Indexer: lives.indexer, Copies: to, Held: held, Logger: slog.New(slog.DiscardHandler),
		})
	}
	e := evacuator(lacking{})
	for range 2 {
		if err := e.Pass(t.Context()); !errors.Is(err, storage.ErrUnavailable) || held.removed {
			t.Fatalf("while it lacks its copies: %v; the copy is removed: %v", err, held.removed)
		}
	}
	lives = lives.again()
	if err := lives.indexer.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := evacuator(nil).Pass(t.Context()); err != nil || !held.removed {
		t.Errorf("when it is in the index: %v; the copy is removed: %v", err, held.removed)
	}
	lives.expect(in.StudyInstanceUID, in)
}

// lacking are Copies to which nothing comes.
type lacking struct{}

func (lacking) Await(context.Context, journal.Position) error { return storage.ErrUnavailable }
func (lacking) Failing() error                                { return nil }
func (lacking) Holders(journal.Position) []string             { return nil }
