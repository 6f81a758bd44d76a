package journal_test

import (
	"errors"
	"io"
	"io/fs"
	"sync/atomic"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// countingFS counts how often files were opened for reading, and how many of
// them are not closed.
type countingFS struct {
	journal.FS
	opened, left atomic.Int64
}

func (c *countingFS) Open(name string) (journal.File, error) {
	f, err := c.FS.Open(name)
	if err != nil {
		return nil, err
	}
	c.opened.Add(1)
	c.left.Add(1)
	return countedFile{f, &c.left}, nil
}

type countedFile struct {
	journal.File
	left *atomic.Int64
}

func (f countedFile) Close() error {
	f.left.Add(-1)
	return f.File.Close()
}

// TestReadAgain: reading entry by entry opens a segment once, readers beside
// each other have a file each, and none is left open of a segment that was
// removed, or of a journal that is closed.
func TestReadAgain(t *testing.T) {
	files := &countingFS{FS: newMemFS(1)}
	j := open(t, journal.Options{Dir: "/journal", FS: files})
	var at []journal.Position
	for _, body := range []string{"one", "two", "three"} {
		at = append(at, put(t, j, "", "header", []byte(body)).Position)
	}
	before := files.opened.Load()
	for range 2 {
		for i, want := range []string{"one", "two", "three"} {
			if got := get(t, j, at[i], storage.Range{Length: int64(len(want))}); string(got) != want {
				t.Fatalf("%q, want %q", got, want)
			}
		}
	}
	if n := files.opened.Load() - before; n != 1 {
		t.Errorf("the segment was opened %d times for six readers, one after the other", n)
	}

	first, err := j.Read(t.Context(), at[0], storage.Range{Length: 3})
	if err != nil {
		t.Fatal(err)
	}
	second, err := j.Read(t.Context(), at[1], storage.Range{Length: 3})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if err := j.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := j.Remove(t.Context(), at[0].Segment); err != nil {
		t.Fatal(err)
	}
	if n := files.left.Load(); n != 1 {
		t.Errorf("%d files of a segment that was removed are open beside one reader", n-1)
	}
	if b, err := io.ReadAll(first); err != nil || string(b) != "one" {
		t.Errorf("a reader that was open when its segment was removed: %q, %v", b, err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if n := files.left.Load(); n != 0 {
		t.Errorf("%d files of a segment that was removed are open", n)
	}

	if n, err := first.Read(make([]byte, 3)); n != 0 || !errors.Is(err, fs.ErrClosed) {
		t.Errorf("a reader that is closed gives %d bytes, %v", n, err)
	}

	last := put(t, j, "", "header", []byte("four")).Position
	get(t, j, last, storage.Range{Length: 4})
	if n := files.left.Load(); n != 1 {
		t.Errorf("%d files are open, want that of the last reader", n)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if n := files.left.Load(); n != 0 {
		t.Errorf("%d files of a journal that is closed are open", n)
	}
}
