package archivetest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
)

func uid64(last string) string {
	return "1.2." + strings.Repeat("3", 60-len(last)) + last
}

func testKeys(t *testing.T, a archive.Archive) {
	keys := []string{
		"a", "A", "a.b-c_d", "x..y", "dot.", "-", "_", "0",
		"studies/" + uid64("1") + "/" + uid64("2") + "/" + strings.Repeat("0123abcd", 4) + ".zip",
		strings.Repeat("deep/", 30) + "object",
	}
	for i, key := range keys {
		put(t, a, key, Random(byte(i), 10+i))
	}
	for i, key := range keys {
		holds(t, a, key, Random(byte(i), 10+i))
	}
}

func testHostileKeys(t *testing.T, a archive.Archive) {
	put(t, a, "a/b", Random(0, 10))
	for _, key := range []string{
		"", "/", "/etc/passwd", "../x", "a/../../x", "a/..", "..", ".", "a/./b", "a//b", "a/", "./a",
		".hidden", "a/.hidden", ".staging/x", "a\x00b", "a\\b", "a b", "a:b", "a?b", "a%2e%2e", "é", "a\nb",
		strings.Repeat("x", 600), strings.Repeat("a/", 300) + "b",
	} {
		_, putErr := a.Put(t.Context(), key, Random(1, 10))
		_, getErr := get(t.Context(), a, key, storage.Range{})
		_, statErr := a.Stat(t.Context(), key)
		for name, err := range map[string]error{"Put": putErr, "Get": getErr, "Stat": statErr, "Remove": a.Remove(t.Context(), key)} {
			if !errors.Is(err, storage.ErrInvalid) {
				t.Errorf("%s of key %q: %v, want storage.ErrInvalid", name, key, err)
			}
		}
	}
	if keys := list(t, a, ""); !slices.Equal(keys, []string{"a/b"}) {
		t.Errorf("List shows %q", keys)
	}
	for _, prefix := range []string{"/", "../", "..", ".", "./", ".staging/", "a/../", "a//", "\x00", "a/\x00"} {
		if keys := list(t, a, prefix); len(keys) != 0 {
			t.Errorf("List of prefix %q shows %q", prefix, keys)
		}
	}
}

func testList(t *testing.T, a archive.Archive) {
	// In the order of keys '-' and '.' come before '/', and digits after.
	keys := []string{
		"a-b/x", "a.b/x", "a.zip", "a/b.zip", "a/b/c", "a/b/d", "a/bb", "a/c/d/e", "a0", "ab", "b/x",
		"studies/1.2.3.4/5/p", "studies/1.2.3/4/p", "studies/1.2.3/4/q", "studies/1.2.34/5/p",
	}
	if !slices.IsSorted(keys) {
		t.Fatal("the test's own keys are not sorted")
	}
	for i := range keys {
		key := keys[(i*7)%len(keys)] // in another order
		put(t, a, key, Random(0, len(key)))
	}
	for _, prefix := range []string{
		"", "a", "a/", "a/b", "a/b/", "a/b/c", "a/b/c/", "a.", "a0", "b", "c", "zzz/", "s", "studies/1.2.3",
		"studies/1.2.3/", "studies/1.2.3/4/", "studies/1.2.3/4/p", "studies/1.2.3/4/pp",
	} {
		var want []string
		for _, key := range keys {
			if strings.HasPrefix(key, prefix) {
				want = append(want, key)
			}
		}
		if got := list(t, a, prefix); !slices.Equal(got, want) {
			t.Errorf("List %q: %q, want %q", prefix, got, want)
		}
	}
	for stat, err := range a.List(t.Context(), "a/") {
		if err != nil || stat.Size != int64(len(stat.Key)) || stat.Modified.IsZero() {
			t.Errorf("List yields %+v, %v", stat, err)
		}
	}
}

// testListStops breaks out of a listing, and cancels another in its midst.
func testListStops(t *testing.T, a archive.Archive) {
	for _, key := range []string{"a/b/c", "a/b/d", "e/f"} {
		put(t, a, key, nil)
	}
	seen := 0
	for _, err := range a.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		seen++
		break
	}
	if seen != 1 {
		t.Errorf("a listing that was left yielded %d", seen)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen, failed := 0, error(nil)
	for _, err := range a.List(ctx, "") {
		if failed != nil {
			t.Error("a listing went on after its error")
		}
		if failed = err; err == nil {
			seen++
			cancel()
		}
	}
	// A backend that lists by pages may have the rest at hand.
	if !errors.Is(failed, context.Canceled) && seen != 3 {
		t.Errorf("a listing that was cancelled yielded %d and ended with %v", seen, failed)
	}
}
