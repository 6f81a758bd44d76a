package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// TestAnotherJournal: when a node's journal was replaced, what lay in the old
// one is not mistaken for what lies at the same place in the new one.
func TestAnotherJournal(t *testing.T) {
	dir := t.TempDir()
	n := open(t, dir, mem.New())
	lost, other := tiny(1, 1), tiny(2, 1)
	n.mustStore(lost.Instances...)
	n.expect(lost.StudyInstanceUID, lost.Instances...)
	n.stop()
	if err := os.RemoveAll(filepath.Join(dir, "journal")); err != nil {
		t.Fatal(err)
	}
	n = open(t, dir, n.archive)
	n.mustStore(other.Instances...)
	found, err := n.reader.Instances(t.Context(), gateway.Selector{StudyInstanceUID: lost.StudyInstanceUID})
	if err != nil || len(found) != 1 {
		t.Fatalf("%d instances, %v", len(found), err)
	}
	if _, err := found[0].Open(t.Context(), storage.Range{Length: 1}); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("its bytes: %v", err)
	}
	if err := found[0].WriteMetadata(t.Context(), io.Discard, ""); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("its metadata: %v", err)
	}
	if err := n.archiver.Pass(t.Context()); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("its packing: %v", err)
	}
	n.expect(other.StudyInstanceUID, other.Instances...)
	if got := n.packs(); len(got) != 1 {
		t.Errorf("packs %v, want that of the other study", got)
	}
}

// TestSegmentLost: an instance whose record is gone fails to be read, and is
// not looked for again and again.
func TestSegmentLost(t *testing.T) {
	dir := t.TempDir()
	n := open(t, dir, mem.New())
	study := tiny(1, 1)
	n.mustStore(study.Instances...) // and not read: a segment that is open stays readable
	segments, err := filepath.Glob(filepath.Join(dir, "journal", "*.segment"))
	if err != nil || len(segments) == 0 {
		t.Fatal(err)
	}
	for _, s := range segments {
		if err := os.Remove(s); err != nil {
			t.Fatal(err)
		}
	}
	found, err := n.reader.Instances(t.Context(), gateway.Selector{StudyInstanceUID: study.StudyInstanceUID})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := found[0].Open(t.Context(), storage.Range{Length: 1}); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("its bytes: %v", err)
	}
}

// TestPacksOverlap: packs of which one holds what another holds too, as an
// index that was restored from a copy leaves them, are entered by a rebuild and
// give each instance once.
func TestPacksOverlap(t *testing.T) {
	a := mem.New()
	study := tiny(1, 5)
	for _, count := range []int{3, 5} {
		n := open(t, t.TempDir(), a)
		n.mustStore(study.Instances[:count]...)
		n.pass()
	}
	n := open(t, t.TempDir(), a)
	if got := len(n.packs()); got != 2 {
		t.Fatalf("%d packs, want 2", got)
	}
	done, err := gateway.Rebuild(t.Context(), gateway.RebuildOptions{Index: n.index, Archives: []archive.Archive{a}, Journal: n.journal})
	if err != nil || done.Packs != 2 {
		t.Fatalf("%+v, %v", done, err)
	}
	n.expect(study.StudyInstanceUID, study.Instances...)
}

// TestRebuildArchiveGone: a rebuild that loses the archive on its way fails
// rather than leave instances out.
func TestRebuildArchiveGone(t *testing.T) {
	a := mem.New()
	n := open(t, t.TempDir(), a)
	n.mustStore(tiny(1, 1).Instances...)
	n.pass()
	fresh := open(t, t.TempDir(), a)
	_, err := gateway.Rebuild(t.Context(), gateway.RebuildOptions{Index: fresh.index, Archives: []archive.Archive{gone{a}}, Journal: fresh.journal})
	if !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("the rebuild: %v", err)
	}
}

// gone is an archive that lists its packs and gives none.
type gone struct{ archive.Archive }

func (gone) Get(context.Context, string, storage.Range) (io.ReadCloser, error) {
	return nil, storage.ErrUnavailable
}
func (gone) Check(context.Context) error { return storage.ErrUnavailable }

// TestArchiveGone: while the archive is away one pack is tried and no series is
// planned; both go on when it is back.
func TestArchiveGone(t *testing.T) {
	a := &flapping{Archive: mem.New()}
	n := open(t, t.TempDir(), a)
	for seed := range uint64(3) {
		n.mustStore(tiny(seed, 1).Instances...)
	}
	if err := n.indexer.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.fails = func(puts int) bool { return puts > 0 } // it goes with the first pack
	if err := n.archiver.Pass(t.Context()); !errors.Is(err, storage.ErrUnavailable) || !strings.Contains(err.Error(), "3 packs wait") {
		t.Errorf("the pass: %v", err)
	}
	if a.puts != 1 {
		t.Errorf("%d packs were tried, want 1", a.puts)
	}
	n.mustStore(tiny(4, 1).Instances...)
	if err := n.indexer.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := n.archiver.Pass(t.Context()); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("the next pass: %v", err)
	}
	if plans, err := n.index.Planned(t.Context()); err != nil || len(plans) != 3 {
		t.Errorf("%d plans, %v", len(plans), err)
	}
	a.fails = nil
	n.pass()
	if got := len(n.packs()); got != 4 {
		t.Errorf("%d packs, want 4", got)
	}
}

type flapping struct {
	archive.Archive
	puts  int
	fails func(puts int) bool
}

func (f *flapping) Put(ctx context.Context, key string, src archive.Source) (uint32, error) {
	if f.puts++; f.fails != nil && f.fails(f.puts) {
		return 0, storage.ErrUnavailable
	}
	return f.Archive.Put(ctx, key, src)
}

func (f *flapping) Check(context.Context) error {
	if f.fails != nil && f.fails(f.puts) {
		return storage.ErrUnavailable
	}
	return nil
}

// TestStandingAfterIndexed: an instance that is indexed before it is asked
// what it is, is no duplicate of itself, and one that is kept aside is said to
// be.
func TestStandingAfterIndexed(t *testing.T) {
	n := open(t, t.TempDir(), mem.New())
	in := tiny(1, 1).Instances[0]
	altered := bytes.Replace(in.DataSet(), []byte("CR"), []byte("DX"), 1)
	for _, c := range []struct {
		dataSet []byte
		want    gateway.Standing
	}{
		{in.DataSet(), gateway.Stored},
		{altered, gateway.Conflict},
		{in.DataSet(), gateway.Duplicate},
		{altered, gateway.Duplicate},
	} {
		before := n.indexer.Indexed()
		p, err := n.storer.Receive(t.Context(), gateway.Incoming{
			Body: bytes.NewReader(c.dataSet), Form: gateway.DataSet, TransferSyntaxUID: in.TransferSyntaxUID,
		})
		if err != nil {
			t.Fatal(err)
		}
		for n.indexer.Indexed() == before { // nobody has waited yet
			if err := n.indexer.Await(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		receipt, err := p.Wait(t.Context())
		if err != nil || receipt.Standing != c.want {
			t.Errorf("standing %d, %v; want %d", receipt.Standing, err, c.want)
		}
	}
}

// TestBodyThatWrapsEOF: only io.EOF itself ends a Data Set.
func TestBodyThatWrapsEOF(t *testing.T) {
	n := open(t, t.TempDir(), mem.New())
	in := tiny(1, 1).Instances[0]
	failure := errors.Join(errors.New("the line is cut"), io.EOF)
	_, err := n.storer.Receive(t.Context(), gateway.Incoming{
		Body: io.MultiReader(bytes.NewReader(in.DataSet()), broken{failure}), Form: gateway.DataSet,
		TransferSyntaxUID: in.TransferSyntaxUID,
	})
	if !errors.Is(err, failure) {
		t.Errorf("a body that fails at its end: %v", err)
	}
}

// TestPanickingBody: a transport that panics in Read leaves nothing behind.
func TestPanickingBody(t *testing.T) {
	dir := t.TempDir()
	n := open(t, dir, mem.New())
	value := []byte{0x09, 0, 0x01, 0x10, 'O', 'B', 0, 0, 0, 0, 0x40, 0} // 4 MiB are to come
	func() {
		defer func() { _ = recover() }()
		_, err := n.storer.Receive(t.Context(), gateway.Incoming{
			Body:              io.MultiReader(bytes.NewReader(append(value, make([]byte, 2<<20)...)), panics{}),
			Form:              gateway.DataSet,
			TransferSyntaxUID: "1.2.840.10008.1.2.1",
		})
		t.Errorf("no panic: %v", err)
	}()
	left, err := os.ReadDir(filepath.Join(dir, "journal", "large"))
	if err != nil || len(left) != 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

type panics struct{}

func (panics) Read([]byte) (int, error) { panic("a body") }

// TestTornTail: what a crash leaves half written is no problem of the node.
func TestTornTail(t *testing.T) {
	dir := t.TempDir()
	n := open(t, dir, mem.New())
	n.mustStore(tiny(1, 1).Instances...)
	n.pass()
	n.mustStore(tiny(2, 1).Instances...)
	n.stop()
	segments, err := filepath.Glob(filepath.Join(dir, "journal", "*.segment"))
	if err != nil || len(segments) == 0 {
		t.Fatal(err)
	}
	f, err := os.OpenFile(segments[len(segments)-1], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("half a record"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	j, err := journal.Open(t.Context(), journal.Options{Dir: filepath.Join(dir, "journal"), ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	x, err := index.Open(t.Context(), index.Options{Path: filepath.Join(dir, "index.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	done, err := gateway.Check(t.Context(), gateway.CheckOptions{
		Index: x, Archives: []archive.Archive{n.archive}, Journal: j, Problem: func(what string) { t.Error(what) },
	})
	if err != nil || done.Torn != 1 || done.Records != 1 {
		t.Errorf("%+v, %v", done, err)
	}
}

// TestFailing: the archiver says that it fails as long as it does.
func TestFailing(t *testing.T) {
	a := &flapping{Archive: mem.New()}
	n := open(t, t.TempDir(), a)
	var back atomic.Bool
	a.fails = func(int) bool { return !back.Load() }
	n.mustStore(tiny(1, 1).Instances...)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- n.archiver.Run(ctx) }()
	until(t, func() bool { return errors.Is(n.archiver.Failing(), storage.ErrUnavailable) })
	back.Store(true)
	until(t, func() bool { return n.archiver.Failing() == nil })
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func until(t *testing.T, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.FailNow()
		}
	}
}

// TestManyPacksOfASeries: a series of any size is planned, in batches that a log
// takes.
func TestManyPacksOfASeries(t *testing.T) {
	n := open(t, t.TempDir(), mem.New())
	study := tiny(1, 40)
	n.mustStore(study.Instances...)
	if err := n.indexer.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	planned := 0
	n.proposer.fail(func(b index.Batch) error {
		planned += len(b.Planned)
		if len(b.Planned) > 16 {
			return storage.ErrInvalid
		}
		return nil
	}, nil)
	archiver := gateway.NewArchiver(gateway.ArchiverOptions{
		Index: n.index, Proposer: n.proposer, Journal: n.journal, Indexer: n.indexer, Archive: n.archive,
		SpoolDir: t.TempDir(), PackMembers: 1, Logger: slog.New(slog.DiscardHandler),
	})
	if err := archiver.Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := len(n.packs()); planned != 40 || got != 40 {
		t.Errorf("%d packs are planned, %d archived, want 40", planned, got)
	}
	n.expect(study.StudyInstanceUID, study.Instances...)
}
