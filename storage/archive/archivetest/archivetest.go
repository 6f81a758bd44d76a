// Package archivetest is the one suite of tests and benchmarks that every
// backend of archive.Archive passes. A backend's own test calls Run and Bench
// and adds only what no other backend has.
package archivetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
)

// Open makes an empty archive for one test and cleans up after it.
type Open func(t testing.TB) archive.Archive

// Run runs the conformance suite. Each of its tests opens an archive.
func Run(t *testing.T, open Open) {
	for _, c := range []struct {
		name string
		test func(*testing.T, archive.Archive)
	}{
		{"put and get", testPutGet},
		{"ranges", testRanges},
		{"missing", testMissing},
		{"never overwrites", testNeverOverwrites},
		{"race of same bytes", testRaceSame},
		{"race of other bytes", testRaceOther},
		{"race of both", testRaceBoth},
		{"keys", testKeys},
		{"hostile keys", testHostileKeys},
		{"list", testList},
		{"list stops", testListStops},
		{"remove", testRemove},
		{"reader survives remove", testReaderSurvivesRemove},
		{"failing source", testFailingSource},
		{"cancelled", testCancelled},
		{"check", testCheck},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

// Random is n bytes that are the same for the same seed.
func Random(seed byte, n int) Bytes {
	b := make(Bytes, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func castagnoli(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

func put(t *testing.T, a archive.Archive, key string, b Bytes) {
	t.Helper()
	sum, err := a.Put(t.Context(), key, b)
	if err != nil {
		t.Fatalf("Put %q: %v", key, err)
	}
	if sum != castagnoli(b) {
		t.Fatalf("Put %q returned %08x, want %08x", key, sum, castagnoli(b))
	}
}

func get(ctx context.Context, a archive.Archive, key string, r storage.Range) ([]byte, error) {
	rc, err := a.Get(ctx, key, r)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(rc)
	return b, errors.Join(err, rc.Close())
}

// holds fails unless the object of a key has the bytes, by Stat and by Get.
func holds(t *testing.T, a archive.Archive, key string, want []byte) {
	t.Helper()
	stat, err := a.Stat(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if stat.Key != key || stat.Size != int64(len(want)) || stat.Modified.IsZero() {
		t.Fatalf("Stat %q: %+v, want size %d", key, stat, len(want))
	}
	got, err := get(t.Context(), a, key, storage.Range{Length: stat.Size})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%q holds other bytes than were put", key)
	}
}

// absent fails unless nothing is visible under a key.
func absent(t *testing.T, a archive.Archive, key string) {
	t.Helper()
	if _, err := a.Stat(t.Context(), key); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("Stat of absent %q: %v, want storage.ErrNotFound", key, err)
	}
	if _, err := a.Get(t.Context(), key, storage.Range{}); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("Get of absent %q: %v, want storage.ErrNotFound", key, err)
	}
	if keys := list(t, a, ""); slices.Contains(keys, key) {
		t.Errorf("List shows absent %q", key)
	}
}

func list(t *testing.T, a archive.Archive, prefix string) []string {
	t.Helper()
	var keys []string
	for stat, err := range a.List(t.Context(), prefix) {
		if err != nil {
			t.Fatalf("List %q: %v", prefix, err)
		}
		keys = append(keys, stat.Key)
	}
	return keys
}

func testPutGet(t *testing.T, a archive.Archive) {
	for _, size := range []int{0, 1, 4095, 1 << 20, 1<<20 + 1, 33<<20 + 7} {
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			key, data := fmt.Sprintf("objects/%d.zip", size), Random(1, size)
			put(t, a, key, data)
			holds(t, a, key, data)
		})
	}
}

func testRanges(t *testing.T, a archive.Archive) {
	const size = 3<<20 + 5
	data := Random(2, size)
	put(t, a, "a/b", data)
	put(t, a, "empty", nil)
	for _, c := range []struct {
		key  string
		r    storage.Range
		fail bool
	}{
		{key: "a/b", r: storage.Range{Offset: 0, Length: size}},
		{key: "a/b", r: storage.Range{Offset: 0, Length: 0}},
		{key: "a/b", r: storage.Range{Offset: 0, Length: 1}},
		{key: "a/b", r: storage.Range{Offset: size - 1, Length: 1}},
		{key: "a/b", r: storage.Range{Offset: size, Length: 0}},
		{key: "a/b", r: storage.Range{Offset: 1 << 20, Length: 1<<20 + 1}},
		{key: "empty", r: storage.Range{}},
		{key: "a/b", r: storage.Range{Offset: size, Length: 1}, fail: true},
		{key: "a/b", r: storage.Range{Offset: size + 1, Length: 0}, fail: true},
		{key: "a/b", r: storage.Range{Offset: 0, Length: size + 1}, fail: true},
		{key: "a/b", r: storage.Range{Offset: -1, Length: 1}, fail: true},
		{key: "a/b", r: storage.Range{Offset: 0, Length: -1}, fail: true},
		{key: "a/b", r: storage.Range{Offset: 1, Length: 1<<63 - 1}, fail: true},
		{key: "a/b", r: storage.Range{Offset: 1<<63 - 1, Length: 1<<63 - 1}, fail: true},
		{key: "empty", r: storage.Range{Length: 1}, fail: true},
	} {
		got, err := get(t.Context(), a, c.key, c.r)
		switch {
		case c.fail && !errors.Is(err, storage.ErrInvalid):
			t.Errorf("Get %q %+v: %v, want storage.ErrInvalid", c.key, c.r, err)
		case !c.fail && err != nil:
			t.Errorf("Get %q %+v: %v", c.key, c.r, err)
		case !c.fail && c.key == "a/b" && !bytes.Equal(got, data[c.r.Offset:c.r.End()]):
			t.Errorf("Get %q %+v: other bytes", c.key, c.r)
		}
	}
	copied(t, a, "a/b", data)
	nexted(t, a, "a/b", data)
}

// nexted reads by archive.Next, in pieces of all lengths, mixed with Read.
func nexted(t *testing.T, a archive.Archive, key string, data []byte) {
	rc, err := a.Get(t.Context(), key, storage.Range{Offset: 3, Length: int64(len(data)) - 5})
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	var got, buf []byte
	for most := int64(1); ; most = most*3 + 1 {
		piece, err := archive.Next(rc, most, &buf)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || len(piece) == 0 || int64(len(piece)) > most {
			t.Fatalf("Next of %d bytes: %d, %v", most, len(piece), err)
		}
		got = append(got, piece...)
		few := make([]byte, 10)
		n, err := rc.Read(few)
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		got = append(got, few[:n]...)
	}
	if !bytes.Equal(got, data[3:len(data)-2]) {
		t.Errorf("Next: %d bytes, other ones", len(got))
	}
}

// copied reads by io.Copy, which takes another way than Read through a reader
// that implements io.WriterTo; some of the bytes are read before.
func copied(t *testing.T, a archive.Archive, key string, data []byte) {
	for _, plain := range []bool{false, true} {
		rc, err := a.Get(t.Context(), key, storage.Range{Offset: 3, Length: int64(len(data)) - 5})
		if err != nil {
			t.Fatal(err)
		}
		got := new(bytes.Buffer)
		if _, err := io.CopyN(got, rc, 10); err != nil {
			t.Fatal(err)
		}
		w := io.Writer(got)
		if plain {
			w = struct{ io.Writer }{got} // hides io.ReaderFrom
		}
		n, err := io.Copy(w, rc)
		if err != nil || n != int64(len(data))-15 {
			t.Errorf("io.Copy: %d bytes, %v", n, err)
		}
		if !bytes.Equal(got.Bytes(), data[3:len(data)-2]) {
			t.Error("io.Copy: other bytes")
		}
		if err := rc.Close(); err != nil {
			t.Error(err)
		}
	}
}

func testMissing(t *testing.T, a archive.Archive) {
	put(t, a, "folder/object", Random(3, 10))
	for _, key := range []string{"missing", "folder", "folder/missing", "missing/object", "folder/object/below"} {
		absent(t, a, key)
	}
}

func testRemove(t *testing.T, a archive.Archive) {
	put(t, a, "a/b/c", Random(4, 100))
	put(t, a, "a/b/d", Random(5, 100))
	for _, key := range []string{"a/b/c", "a/b/c", "never/there"} {
		if err := a.Remove(t.Context(), key); err != nil {
			t.Errorf("Remove %q: %v", key, err)
		}
		absent(t, a, key)
	}
	holds(t, a, "a/b/d", Random(5, 100))
	put(t, a, "a/b/c", Random(6, 50)) // a key is free again once it was removed
	holds(t, a, "a/b/c", Random(6, 50))
}

func testReaderSurvivesRemove(t *testing.T, a archive.Archive) {
	data := Random(7, 1<<20)
	put(t, a, "a/b", data)
	rc, err := a.Get(t.Context(), "a/b", storage.Range{Length: int64(len(data))})
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	got := make([]byte, len(data))
	if _, err := io.ReadFull(rc, got[:10]); err != nil {
		t.Fatal(err)
	}
	if err := a.Remove(t.Context(), "a/b"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(rc, got[10:]); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("the open reader lost its object: %v", err)
	}
}

func testCheck(t *testing.T, a archive.Archive) {
	if err := a.Check(t.Context()); err != nil {
		t.Errorf("Check: %v", err)
	}
	if keys := list(t, a, ""); len(keys) != 0 {
		t.Errorf("Check left %q", keys)
	}
	if a.String() == "" {
		t.Error("String is empty")
	}
}
