package copies_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/consensus/copies"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// TestOlderThanItsCopy: a journal whose disk was put back to what it was before
// has nothing acknowledged by what another node has of it, and leaves that as it
// is.
func TestOlderThanItsCopy(t *testing.T) {
	c := newNodes(t, 2)
	n, kept := c.all["n1"], filepath.Join(t.TempDir(), "kept")
	folder := filepath.Join(n.dir, "journal")
	if _, err := n.put(random(3000)); err != nil {
		t.Fatal(err)
	}
	n.stop()
	if err := os.CopyFS(kept, os.DirFS(folder)); err != nil {
		t.Fatal(err)
	}
	n = c.start("n1", n.dir)
	body := random(20_000)
	at, err := n.put(body)
	if err != nil {
		t.Fatal(err)
	}
	id := n.journal.ID()
	n.stop()
	if err := errors.Join(os.RemoveAll(folder), os.CopyFS(folder, os.DirFS(kept))); err != nil {
		t.Fatal(err)
	}
	n = c.start("n1", n.dir)
	if p, err := n.put(random(3000)); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("acknowledged at %s, where another entry lay: %v", p, err)
	}
	if !n.older.Load() {
		t.Error("nobody is told")
	}
	if err := c.all["n2"].has(id, at, body); err != nil {
		t.Errorf("what was acknowledged is gone from the copy: %v", err)
	}
}

// TestOlderInTheMiddleOfASegment: the same of a journal that was put back to
// what it was while a segment was written.
func TestOlderInTheMiddleOfASegment(t *testing.T) {
	c := newNodes(t, 2)
	n, kept := c.all["n1"], filepath.Join(t.TempDir(), "kept")
	folder := filepath.Join(n.dir, "journal")
	if _, err := n.put(random(3000)); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(kept, os.DirFS(folder)); err != nil {
		t.Fatal(err)
	}
	body := random(5000)
	at, err := n.put(body)
	if err != nil {
		t.Fatal(err)
	}
	id := n.journal.ID()
	n.stop()
	if err := errors.Join(os.RemoveAll(folder), os.CopyFS(folder, os.DirFS(kept))); err != nil {
		t.Fatal(err)
	}
	n = c.start("n1", n.dir)
	if p, err := n.put(random(3000)); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("acknowledged at %s: %v", p, err)
	}
	if !n.older.Load() {
		t.Error("nobody is told")
	}
	if err := c.all["n2"].has(id, at, body); err != nil {
		t.Errorf("what was acknowledged is gone from the copy: %v", err)
	}
}

// TestNothingIsHeldBeforeItIsKnown: by what the index says was held once nothing
// is acknowledged while nobody has said that the journal reaches so far.
func TestNothingIsHeldBeforeItIsKnown(t *testing.T) {
	k := copies.NewKeeper(copies.KeeperOptions{
		Node: "n1", Others: func() []string { return nil }, Copies: func() int { return 1 },
		Known:  func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		Timing: copies.Timing{Grace: time.Millisecond}, Logger: slog.New(slog.DiscardHandler),
	})
	j, err := journal.Open(t.Context(), journal.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if err := k.Attach(j, journal.Position{Segment: 9, Offset: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	if err := k.Await(t.Context(), journal.Position{Segment: 1, Offset: 64}); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("acknowledged where another entry may lie: %v", err)
	}
}
