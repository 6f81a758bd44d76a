package copies_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
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
	for name, middle := range map[string]bool{
		"as it was when it stopped": false, "as it was while a segment was written": true,
	} {
		t.Run(name, func(t *testing.T) {
			c := newNodes(t, 2)
			n, kept := c.all["n1"], filepath.Join(t.TempDir(), "kept")
			folder := filepath.Join(n.dir, "journal")
			if _, err := n.put(random(3000)); err != nil {
				t.Fatal(err)
			}
			if !middle {
				n.stop()
			}
			if err := os.CopyFS(kept, os.DirFS(folder)); err != nil {
				t.Fatal(err)
			}
			if !middle {
				n = c.start("n1", n.dir)
			}
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
		})
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

// TestOlderWhileItRuns: a machine is put back with its memory while it runs, and
// takes something before it meets its holder again, longer than what the holder
// has of that segment. It is one of two that were the same, here.
func TestOlderWhileItRuns(t *testing.T) {
	c := newNodes(t, 2)
	n, dir := c.all["n1"], t.TempDir()
	if _, err := n.put(random(3000)); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "journal"), os.DirFS(filepath.Join(n.dir, "journal"))); err != nil {
		t.Fatal(err)
	}
	c.parts("n1", "n2", true)
	if err := n.journal.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	longer := random(12_000)
	if at, err := n.put(longer); !errors.Is(err, storage.ErrUnavailable) {
		t.Fatalf("acknowledged at %s: %v", at, err)
	}
	other, body := c.start("n3", dir), random(3000)
	at, err := other.put(body)
	if err != nil {
		t.Fatal(err)
	}
	other.stop()
	c.parts("n1", "n2", false)
	counts := func() bool { // what lies where the holder has another
		n.mu.Lock()
		defer n.mu.Unlock()
		return slices.ContainsFunc(n.held, func(e journal.Entry) bool { return e.Position == at })
	}
	eventually(t, "they meet", func() bool { return n.older.Load() || counts() })
	if !n.older.Load() || counts() {
		t.Errorf("what lies at %s counts as held, where the holder has another", at)
	}
	if err := c.all["n2"].has(n.journal.ID(), at, body); err != nil {
		t.Errorf("what was acknowledged is gone from the copy: %v", err)
	}
}
