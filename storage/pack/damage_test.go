package pack_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/pack"
)

func problems(t testing.TB, b pack.Blob) []string {
	t.Helper()
	var found []string
	if err := pack.Verify(context.Background(), b, func(p string) { found = append(found, p) }); err != nil {
		t.Fatal(err)
	}
	return found
}

// TestDamagedMember streams a pack one of whose members changed after it was
// laid out: its last byte must not come.
func TestDamagedMember(t *testing.T) {
	for name, damaged := range map[string]func([]byte) []byte{
		"first byte": func(b []byte) []byte { b[0]++; return b },
		"last byte":  func(b []byte) []byte { b[len(b)-1]++; return b },
		"cut":        func(b []byte) []byte { return b[:len(b)-1] },
		"empty":      func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			members := ctSeries(3, 300_000, 100)
			good, err := readRange(memberBlob{members[1]}, storage.Range{Length: members[1].Size})
			if err != nil {
				t.Fatal(err)
			}
			bad := damaged(bytes.Clone(good))
			members[1].Open = func(_ context.Context, r storage.Range) (io.ReadCloser, error) {
				return io.NopCloser(bytes.NewReader(bad[min(r.Offset, int64(len(bad))):min(r.End(), int64(len(bad)))])), nil
			}
			p := build(t, pack.Options{}, members)
			got, err := readRange(p, storage.Range{Length: p.Size()})
			if !errors.Is(err, storage.ErrCorrupt) || !strings.Contains(fmt.Sprint(err), members[1].Key.SOPInstanceUID) {
				t.Errorf("%v, want storage.ErrCorrupt that names the instance", err)
			}
			if len(got) < 300_000 || len(got) >= 600_000+200 {
				t.Errorf("%d bytes came: the first member must, the second's end must not", len(got))
			}
		})
	}
}

// TestDamagedMemberInParts reads a pack as an archive does that sends parts in
// any order, some of them twice.
func TestDamagedMemberInParts(t *testing.T) {
	for _, damaged := range []bool{false, true} {
		members := ctSeries(3, 300_000, 100)
		if damaged {
			members[1].CRC32++
		}
		p := build(t, pack.Options{}, members)
		const part = 64 << 10
		var parts []storage.Range
		for at := int64(0); at < p.Size(); at += part {
			parts = append(parts, storage.Range{Offset: at, Length: min(part, p.Size()-at)})
		}
		parts = append(parts, parts[5], parts[2])
		rng := rand.New(rand.NewPCG(9, 10))
		for range 20 {
			rng.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
			failed := 0
			for _, r := range parts {
				if b, err := readRange(p, r); errors.Is(err, storage.ErrCorrupt) && int64(len(b)) < r.Length {
					failed++
				} else if err != nil {
					t.Fatal(err)
				}
			}
			if damaged && failed == 0 || !damaged && failed > 0 {
				t.Fatalf("damaged: %t, parts that failed: %d", damaged, failed)
			}
		}
	}
}

func TestVerifyNamesWhatIsDamaged(t *testing.T) {
	members := ctSeries(40, 2000, 30_000)
	stored := read(t, build(t, pack.Options{}, members))
	if found := problems(t, stored); len(found) != 0 {
		t.Fatalf("a good pack: %q", found)
	}
	d := directory(t, stored)
	metadata := int64(bytes.Index(stored, []byte("metadata.ndjson")))
	index := int64(bytes.Index(stored, []byte("index.ndjson")))
	for name, c := range map[string]struct {
		at    int64
		words []string
	}{
		"pixel":           {d.Entries[3].Stored().End() - 1, []string{d.Entries[3].Key.SOPInstanceUID, "CRC-32", "BLAKE3"}},
		"prefix":          {d.Entries[4].Offset, []string{d.Entries[4].Key.SOPInstanceUID, "CRC-32"}},
		"local header":    {d.Entries[5].Offset - 1, []string{"ZIP header of " + d.Entries[5].Key.SOPInstanceUID}},
		"metadata header": {metadata, []string{"ZIP header of metadata.ndjson"}},
		"metadata":        {metadata + 5000, []string{"metadata"}},
		"index header":    {index, []string{"ZIP header of index.ndjson"}},
		"index":           {index + 100, []string{"cannot be opened", "corrupt"}},
		"central":         {stored.Size() - 2000, []string{"central directory"}},
		"comment":         {stored.Size() - 1, []string{"cannot be opened"}},
	} {
		t.Run(name, func(t *testing.T) {
			bad := slices.Clone(stored)
			bad[c.at] ^= 0x10
			found := strings.Join(problems(t, bad), "\n")
			for _, word := range c.words {
				if !strings.Contains(found, word) {
					t.Errorf("the problems do not tell %q: %q", word, found)
				}
			}
		})
	}
	t.Run("cut", func(t *testing.T) {
		for _, n := range []int{0, 1, 21, 100, len(stored) / 2, len(stored) - 1} {
			if found := problems(t, stored[:n]); len(found) == 0 {
				t.Errorf("a pack cut to %d bytes has no problem", n)
			}
		}
	})
}

// TestEveryByteIsChecked flips bytes all over a pack: Verify misses none, but
// for the last bits of the two deflate streams, which mean nothing.
func TestEveryByteIsChecked(t *testing.T) {
	stored := read(t, build(t, pack.Options{}, ctSeries(2, 300, 200)))
	padding := []int{bytes.LastIndex(stored, []byte("PK\x03\x04")) - 1, bytes.Index(stored, []byte("PK\x01\x02")) - 1}
	for at := range stored {
		if slices.Contains(padding, at) {
			continue
		}
		bad := slices.Clone(stored)
		bad[at] ^= 1 << (at % 8)
		if found := problems(t, bad); len(found) == 0 {
			t.Errorf("byte %d of %d was flipped, and nobody noticed", at, len(stored))
		}
	}
}

// FuzzReadDirectory opens damaged packs. All that it may do is fail.
func FuzzReadDirectory(f *testing.F) {
	stored := read(f, build(f, pack.Options{}, ctSeries(3, 400, 300)))
	f.Add([]byte(stored))
	f.Add([]byte{})
	rng := rand.New(rand.NewPCG(5, 6))
	for range 50 {
		bad := slices.Clone(stored)
		for range 1 + rng.IntN(5) {
			bad[rng.IntN(len(bad))] = byte(rng.Uint32())
		}
		f.Add([]byte(bad[rng.IntN(len(bad)/2):]))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		stored := blob(b)
		problems(t, stored)
		d, err := pack.ReadDirectory(t.Context(), stored)
		if err != nil {
			if !errors.Is(err, storage.ErrCorrupt) && !errors.Is(err, storage.ErrUnsupported) {
				t.Fatalf("%v is neither storage.ErrCorrupt nor storage.ErrUnsupported", err)
			}
			return
		}
		checkInside(t, d, stored)
	})
}

// checkInside checks what ReadDirectory and Details promise of any blob.
func checkInside(t *testing.T, d *pack.Directory, stored blob) {
	end := int64(0)
	for _, e := range d.Entries {
		if r := e.Stored(); r.Offset < end || !r.Within(stored.Size()) {
			t.Fatalf("%+v of %d bytes", r, stored.Size())
		}
		end = e.Stored().End()
	}
	err := d.Details(t.Context(), stored, 0, len(d.Entries), func(_ int, _ *dicom.Layout, metadata io.Reader) error {
		_, err := io.Copy(io.Discard, metadata)
		return err
	})
	if err != nil && !errors.Is(err, storage.ErrCorrupt) {
		t.Fatalf("Details: %v, want storage.ErrCorrupt", err)
	}
}
