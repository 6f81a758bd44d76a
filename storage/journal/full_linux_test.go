package journal_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// TestFullTmpfs fills a real file system, frees some of it, and goes on.
func TestFullTmpfs(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("mounting a tmpfs takes root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	o := journal.Options{Dir: filepath.Join(dir, "journal"), SegmentBytes: 1 << 20, InlineBytes: 100_000}
	j := open(t, o)
	want := map[journal.Position][]byte{}
	fill := func() int {
		for n := 0; ; n++ {
			body := random(t, []int{1000, 60_000, 150_000}[n%3])
			e, err := tryPut(t.Context(), j, "", "header", body)
			if err == nil {
				want[e.Position] = body
				continue
			}
			if !errors.Is(err, storage.ErrFull) || !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			return n
		}
	}
	if n := fill(); n < 20 {
		t.Errorf("only %d entries fit into 3 MiB", n)
	}
	expectAll(t, j, want)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := j.Check(t.Context()); err != nil {
		t.Errorf("there is space again, and Check says %v", err)
	}
	if n := fill(); n < 6 {
		t.Errorf("only %d entries fit into the MiB that came back", n)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = open(t, o) // on a disk that is full
	expectAll(t, j, want)
	first := j.Segments()[0]
	if err := j.Remove(t.Context(), first.Number); err != nil {
		t.Fatal(err)
	}
	put(t, j, "", "h", random(t, 1000))
}
