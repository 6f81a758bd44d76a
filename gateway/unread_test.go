package gateway_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// unindexed stores instances in a segment of their own while the index is away,
// and stops the node.
func unindexed(t *testing.T, n *node, instances ...dicomtest.Instance) (segment string) {
	t.Helper()
	n.proposer.fail(func(index.Batch) error { return storage.ErrUnavailable }, nil)
	n.mustStore(instances...)
	if err := n.journal.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.stop()
	return filepath.Join(n.dir, "journal", "0000000000000001.segment")
}

// flip changes a bit of the payload of a segment's last entry.
func flip(t *testing.T, segment string) {
	t.Helper()
	b, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-40] ^= 1
	if err := os.WriteFile(segment, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedBeforeIndexed: what is damaged before it was indexed keeps nothing
// back, and its segment is left to a person, also over restarts and by an index
// that is made anew; when the bytes are back it is indexed.
func TestDamagedBeforeIndexed(t *testing.T) {
	study := tiny(1, 2)
	lost, sound := study.Instances[0], study.Instances[1]
	n := open(t, t.TempDir(), mem.New())
	segment := unindexed(t, n, lost)
	flip(t, segment)
	kept := func(when string) {
		t.Helper()
		n.pass()
		if _, err := os.Stat(segment); err != nil {
			t.Errorf("%s: the segment of an acknowledged instance: %v", when, err)
		}
		unread, err := n.index.Unread(t.Context(), index.JournalID(n.journal.ID()))
		if err != nil || len(unread) != 1 || unread[0].Segment != 1 {
			t.Errorf("%s: unread are %v, %v", when, unread, err)
		}
	}
	n = open(t, n.dir, n.archive)
	n.mustStore(sound)
	kept("when it is found")
	n.expect(study.StudyInstanceUID, sound)
	n = n.again()
	kept("after a restart")

	n.stop()
	if err := os.Remove(filepath.Join(n.dir, "index.db")); err != nil {
		t.Fatal(err)
	}
	rebuilt(t, n.dir, n.archive)
	n = open(t, n.dir, n.archive)
	kept("after a rebuild")

	n.stop()
	flip(t, segment)
	n = open(t, n.dir, n.archive)
	n.mustStore(tiny(2, 1).Instances...) // Run is past its first look when this is indexed
	n.pass()
	n.expect(study.StudyInstanceUID, study.Instances...)
	if unread, err := n.index.Unread(t.Context(), ""); err != nil || len(unread) > 0 {
		t.Errorf("what is indexed is unread: %v, %v", unread, err)
	}
	if _, err := os.Stat(segment); err == nil {
		t.Error("the segment is archived, and stays")
	}
}

// TestDamagedIsGivenUp: when a person takes a damaged segment away, nothing is
// said to be unread any more.
func TestDamagedIsGivenUp(t *testing.T) {
	n := open(t, t.TempDir(), mem.New())
	segment := unindexed(t, n, tiny(1, 1).Instances[0])
	flip(t, segment)
	n = open(t, n.dir, n.archive)
	n.pass()
	n.stop()
	if err := os.Remove(segment); err != nil {
		t.Fatal(err)
	}
	n = open(t, n.dir, n.archive)
	other := tiny(2, 1)
	n.mustStore(other.Instances...)
	n.pass()
	if all := unread(t, n.index); len(all) > 0 {
		t.Errorf("unread are %v", all)
	}
	n.expect(other.StudyInstanceUID, other.Instances...)
}

// TestUnreadableBeforeIndexed: a disk that does not read an instance back keeps
// none that follows from being indexed.
func TestUnreadableBeforeIndexed(t *testing.T) {
	n := open(t, t.TempDir(), mem.New())
	fresh := empty(t)
	study := tiny(1, 2)
	n.mustStore(study.Instances...)
	last := n.journal.Segments()[0]
	x := gateway.NewIndexer(&proposer{index: fresh}, slog.New(slog.DiscardHandler))
	x.Attach(badSector{n.journal, last.First}, journal.Position{}, last.Last)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { x.Run(ctx) })
	err := x.AwaitOwn(t.Context())
	cancel()
	running.Wait()
	if err != nil {
		t.Fatal(err)
	}
	live, err := fresh.Where(t.Context(), index.Selector{StudyInstanceUID: study.StudyInstanceUID})
	if err != nil || len(live) != 1 {
		t.Errorf("%d instances are indexed, want 1 (%v)", len(live), err)
	}
	if all := unread(t, fresh); len(all) != 1 || all[0].Offset != last.First.Offset {
		t.Errorf("unread are %v, want the one at %v", all, last.First)
	}
}

// badSector is a journal on a disk that does not read one of its entries.
type badSector struct {
	gateway.Journal
	at journal.Position
}

func (b badSector) Read(ctx context.Context, at journal.Position, part storage.Range) (io.ReadCloser, error) {
	if at == b.at {
		return io.NopCloser(iotest.ErrReader(syscall.EIO)), nil
	}
	return b.Journal.Read(ctx, at, part)
}

// rebuilt makes the index of a node's folder anew.
func rebuilt(t *testing.T, dir string, a archive.Archive) {
	t.Helper()
	x, err := index.Open(t.Context(), index.Options{Path: filepath.Join(dir, "index.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	j, err := journal.Open(t.Context(), journal.Options{Dir: filepath.Join(dir, "journal"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if _, err := gateway.Rebuild(t.Context(), gateway.RebuildOptions{Index: x, Archives: []archive.Archive{a}, Journal: j}); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedHereSoundInCopy: what is damaged in the journal before it was
// indexed is received again by the node that holds a sound copy; then both give
// the segment back.
func TestDamagedHereSoundInCopy(t *testing.T) {
	in := tiny(1, 1).Instances[0]
	a := mem.New()
	owner, holder := open(t, t.TempDir(), a), open(t, t.TempDir(), a)
	owner.proposer.fail(func(index.Batch) error { return storage.ErrUnavailable }, nil)
	owner.mustStore(in)
	held := copied(t, owner.journal)
	owner.stop()
	segment := filepath.Join(owner.dir, "journal", "0000000000000001.segment")
	flip(t, segment)
	shared := holder.proposer
	owner = open(t, owner.dir, a)
	owner.proposer.fail(nil, func(b index.Batch) error { return shared.Propose(t.Context(), b) })
	id := index.JournalID(owner.journal.ID())
	claim := index.Batch{Journals: []index.JournalChange{{Journal: id, Node: "a"}}}
	if err := shared.Propose(t.Context(), claim); err != nil {
		t.Fatal(err)
	}
	owner.pass()
	if err := shared.Propose(t.Context(), index.Batch{Journals: []index.JournalChange{{Journal: id, Unread: unread(t, owner.index)}}}); err != nil {
		t.Fatal(err) // in case the owner was faster than fail
	}
	evacuator := gateway.NewEvacuator(gateway.EvacuatorOptions{
		Index: holder.index, Proposer: holder.proposer, Journal: holder.journal, Indexer: holder.indexer, Held: held, Logger: slog.New(slog.DiscardHandler),
	})
	for range 2 {
		if err := evacuator.Pass(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if held.removed {
		t.Error("the copy of a journal in use is removed")
	}
	if left := unread(t, holder.index); len(left) > 0 {
		t.Errorf("what was received again is unread: %v", left)
	}
	holder.expect(in.StudyInstanceUID, in)
	n := 0
	for range holder.index.Lying(t.Context(), index.JournalID(holder.journal.ID())) {
		n++
	}
	if n != 1 {
		t.Errorf("%d instances were received again, want 1", n)
	}
}

func unread(t *testing.T, x *index.Index) []index.Position {
	t.Helper()
	all, err := x.Unread(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestDamagedIsNotNeeded: what is damaged before it was indexed, and is no more
// needed when it is received again, does not keep its segment for ever.
func TestDamagedIsNotNeeded(t *testing.T) {
	in := tiny(1, 1).Instances[0]
	a := mem.New()
	owner, holder := open(t, t.TempDir(), a), open(t, t.TempDir(), a)
	owner.proposer.fail(func(index.Batch) error { return storage.ErrUnavailable }, nil)
	p, err := owner.storer.Receive(t.Context(), gateway.Incoming{
		Body: bytes.NewReader(in.DataSet()), Form: gateway.DataSet, TransferSyntaxUID: in.TransferSyntaxUID,
		SOPClassUID: in.SOPClassUID, SOPInstanceUID: in.SOPInstanceUID,
		Origin: storage.Origin{Transport: storage.TransportManifest},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	held := copied(t, owner.journal)
	shared := holder.proposer
	id := index.JournalID(owner.journal.ID())
	at := owner.journal.Segments()[0].First
	pos := index.Position{Journal: id, Segment: at.Segment, Offset: at.Offset}
	for _, j := range []index.JournalChange{{Journal: id, Node: "a"}, {Journal: id, Unread: []index.Position{pos}}} {
		if err := shared.Propose(t.Context(), index.Batch{Journals: []index.JournalChange{j}}); err != nil {
			t.Fatal(err)
		}
	}
	evacuator := gateway.NewEvacuator(gateway.EvacuatorOptions{
		Index: holder.index, Proposer: holder.proposer, Journal: holder.journal, Indexer: holder.indexer, Held: held, Logger: slog.New(slog.DiscardHandler),
	})
	for range 2 {
		if err := evacuator.Pass(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if left := unread(t, holder.index); len(left) > 0 {
		t.Errorf("what the index has no use for is unread: %v", left)
	}
}

// hiccup is a journal on a disk that once does not read one of its entries.
type hiccup struct {
	badSector
	once sync.Once
}

func (h *hiccup) Read(ctx context.Context, at journal.Position, part storage.Range) (io.ReadCloser, error) {
	from := h.Journal
	if at == h.at {
		h.once.Do(func() { from = h.badSector })
	}
	return from.Read(ctx, at, part)
}

// TestHiccup: what a disk did not read once, and does a moment later, is indexed
// without a restart.
func TestHiccup(t *testing.T) {
	n := open(t, t.TempDir(), mem.New())
	fresh := empty(t)
	study := tiny(1, 2)
	n.mustStore(study.Instances...)
	last := n.journal.Segments()[0]
	p := &proposer{index: fresh}
	settled := make(chan bool, 1)
	p.fail(nil, func(b index.Batch) error {
		for _, j := range b.Journals {
			if len(j.Settled) > 0 {
				settled <- true
			}
		}
		return nil
	})
	x := gateway.NewIndexer(p, slog.New(slog.DiscardHandler))
	x.Attach(&hiccup{badSector: badSector{n.journal, last.First}}, journal.Position{}, last.Last)
	x.Reread(fresh, 10*time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { x.Run(ctx) })
	defer running.Wait()
	defer cancel()
	select {
	case <-settled:
	case <-time.After(30 * time.Second):
		t.Fatal("what the disk reads again is not looked at")
	}
	all, err := fresh.Where(t.Context(), index.Selector{StudyInstanceUID: study.StudyInstanceUID})
	if err != nil || len(all) != 2 {
		t.Errorf("%d of 2 acknowledged instances are indexed, %v", len(all), err)
	}
}

// empty is an index that has nothing yet.
func empty(t *testing.T) *index.Index {
	t.Helper()
	x, err := index.Open(t.Context(), index.Options{Path: filepath.Join(t.TempDir(), "index.db"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	return x
}
