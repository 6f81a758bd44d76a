package copies_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
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
