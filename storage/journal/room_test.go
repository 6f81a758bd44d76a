package journal_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// TestRoom reads payloads into the journal's memory, a part of Room at a time,
// around where they become large.
func TestRoom(t *testing.T) {
	const inline = 100 << 10
	dir := t.TempDir()
	j := open(t, journal.Options{Dir: dir, InlineBytes: inline})
	for _, c := range []struct{ size, step, large int }{
		{0, 1000, 0}, {1, 1, 0}, {64 << 10, 999, 0}, {inline, 64 << 10, 0}, {inline + 1, 70_000, 1}, {3 * inline, 12_345, 2},
	} {
		want := random(t, c.size)
		a := j.NewAppend(t.Context())
		for rest := want; len(rest) > 0; {
			n := copy(a.Room(), rest[:min(len(rest), c.step)])
			if n == 0 {
				t.Fatal("there is no room")
			}
			if err := a.Take(n); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		a.Room() // what is not taken is no part of it
		if err := a.Take(0); err != nil {
			t.Fatal(err)
		}
		p, err := a.Commit(nil, []byte("header"), nil)
		if err != nil {
			t.Fatal(err)
		}
		e, err := p.Wait(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := get(t, j, e.Position, storage.Range{Length: e.Size}); !bytes.Equal(got, want) {
			t.Errorf("%d bytes, %d at a time, came back otherwise", c.size, c.step)
		}
		if files, err := os.ReadDir(filepath.Join(dir, "large")); err != nil || len(files) != c.large {
			t.Errorf("after %d bytes there are %d large files, want %d (%v)", c.size, len(files), c.large, err)
		}
		if err := a.Take(0); err == nil {
			t.Error("Take after Commit succeeds")
		}
	}
}

// TestRoomGrows: what is small takes little memory, and what is not is taken
// by few calls, also when the memory is that of a payload before.
func TestRoomGrows(t *testing.T) {
	j := open(t, journal.Options{Dir: t.TempDir()})
	for range 3 {
		a := j.NewAppend(t.Context())
		for _, want := range []int{64 << 10, 256 << 10, 256 << 10} {
			if n := len(a.Room()); n != want {
				t.Fatalf("room for %d bytes, want %d", n, want)
			}
			if err := a.Take(want); err != nil {
				t.Fatal(err)
			}
		}
		p, err := a.Commit(nil, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
