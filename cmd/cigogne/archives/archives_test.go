package archives

import (
	"net/url"
	"path/filepath"
	"testing"

	"github.com/esante-alsace/cigogne/storage/archive/set"
)

// folders opens so many archives that are folders.
func folders(t *testing.T, n int) *Archives {
	t.Helper()
	var urls []*url.URL
	for range n {
		urls = append(urls, &url.URL{Scheme: "dir", Path: filepath.Join(t.TempDir(), "archive")})
	}
	a, err := Open(t.Context(), urls, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	if err := a.CacheIn(filepath.Join(t.TempDir(), "cache"), 1<<20); err != nil {
		t.Fatal(err)
	}
	return a
}

// TestFolders are read without a cache; several of them are a set, also at a
// rate.
func TestFolders(t *testing.T) {
	for n, several := range map[int]bool{1: false, 2: true} {
		a := folders(t, n)
		if _, cached := a.Cached(); cached || a.Far || a.Read != a.Archive || len(a.Each) != n {
			t.Errorf("%d: cached %v, far %v, of %d", n, cached, a.Far, len(a.Each))
		}
		if _, ok := a.Archive.(*set.Set); ok != several {
			t.Errorf("%d are %T", n, a.Archive)
		}
		slow, all, err := a.Paced(0, nil)
		if err != nil || len(slow) != n || (all != nil) != several {
			t.Errorf("%d at a rate: %d, %v, %v", n, len(slow), all, err)
		}
		if health := a.Health(nil); len(health) != n {
			t.Errorf("%d: %v", n, health)
		}
	}
}

// TestSuspects are told as far as there is room, and nobody waits for it.
func TestSuspects(t *testing.T) {
	a := folders(t, 1)
	for range 2 * cap(a.suspects) {
		a.Suspect("studies/1.2/1.3/x.zip")
	}
	for range cap(a.suspects) {
		if key := <-a.Suspects(); key != "studies/1.2/1.3/x.zip" {
			t.Fatal(key)
		}
	}
}
