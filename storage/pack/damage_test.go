package pack_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
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

func TestBuildRefuses(t *testing.T) {
	other := func(change func(*pack.Member)) []pack.Member {
		members := ctSeries(3, 1000, 100)
		change(&members[1])
		return members
	}
	metadata := func(text string) func(*pack.Member) {
		return func(m *pack.Member) {
			m.WriteMetadata = func(_ context.Context, w io.Writer) error {
				_, err := io.WriteString(w, text)
				return err
			}
		}
	}
	failure := errors.New("failed on purpose")
	for name, c := range map[string]struct {
		members []pack.Member
		want    error
	}{
		"no members":     {nil, storage.ErrInvalid},
		"another series": {other(func(m *pack.Member) { m.Key.SeriesInstanceUID = "1.2" }), storage.ErrInvalid},
		"another study":  {other(func(m *pack.Member) { m.Key.StudyInstanceUID = "1.2" }), storage.ErrInvalid},
		"no UID":         {other(func(m *pack.Member) { m.Key.SOPInstanceUID = "../1" }), storage.ErrInvalid},
		"negative size":  {other(func(m *pack.Member) { m.Size, m.Prefix = -1, -1 }), storage.ErrInvalid},
		"prefix":         {other(func(m *pack.Member) { m.Prefix = m.Size + 1 }), storage.ErrInvalid},
		"a long value":   {other(func(m *pack.Member) { m.Origin.ID = strings.Repeat("x", 1<<20) }), storage.ErrInvalid},
		"twice":          {append(ctSeries(3, 1000, 100), instance(2, 1000, 100)), storage.ErrInvalid},
		"no metadata":    {other(metadata("")), storage.ErrInvalid},
		"an array":       {other(metadata("[]")), storage.ErrInvalid},
		"failing metadata": {other(func(m *pack.Member) {
			m.WriteMetadata = func(context.Context, io.Writer) error { return failure }
		}), failure},
		"a fragment outside": {other(func(m *pack.Member) {
			m.Layout = &dicom.Layout{Frames: &dicom.Frames{Count: 1, Fragments: []storage.Range{{Offset: 900, Length: 1000}}, FirstFragment: []int{0}}}
		}), storage.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := pack.Build(t.Context(), pack.Options{SpoolDir: t.TempDir()}, c.members); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

func TestMetadataMayHaveNewlines(t *testing.T) {
	m := member(1, make([]byte, 10), "\n{\n \"00100010\":\n\n{}\n}\n\n")
	stored := read(t, build(t, pack.Options{}, []pack.Member{m}))
	err := directory(t, stored).Details(t.Context(), stored, 0, 1, func(_ int, _ *dicom.Layout, metadata io.Reader) error {
		got, err := io.ReadAll(metadata)
		if want := "{  \"00100010\": {} }"; string(got) != want {
			t.Errorf("%q, want %q", got, want)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
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

// TestDirectoryReads counts the reads of an archive that answers slowly.
func TestDirectoryReads(t *testing.T) {
	for _, c := range []struct{ members, reads int }{{1, 1}, {500, 1}, {5000, 2}} {
		b := &counted{Blob: read(t, build(t, pack.Options{}, ctSeries(c.members, 50, 300)))}
		d := directory(t, b)
		if len(b.ranges) > c.reads {
			t.Errorf("the directory of %d instances took %d reads: %v", c.members, len(b.ranges), b.ranges)
		}
		b.ranges = nil
		i := c.members / 2
		err := d.Details(t.Context(), b, i, i+1, func(got int, _ *dicom.Layout, _ io.Reader) error {
			if got != i {
				t.Errorf("details of %d, asked for %d", got, i)
			}
			return nil
		})
		if err != nil || len(b.ranges) != 1 || b.ranges[0].Length > 100<<10 {
			t.Errorf("the details of one of %d took %v (%v)", c.members, b.ranges, err)
		}
	}
}

func TestDetails(t *testing.T) {
	members := ctSeries(60, 1000, 30_000)
	stored := read(t, build(t, pack.Options{}, members))
	d := directory(t, stored)
	for from := 0; from <= 60; from += 7 {
		for to := from; to <= 60; to += 11 {
			next := from
			err := d.Details(t.Context(), stored, from, to, func(i int, _ *dicom.Layout, metadata io.Reader) error {
				if i != next {
					t.Fatalf("[%d,%d): details of %d, want %d", from, to, i, next)
				}
				next++
				if i%3 == 0 { // it need not be read
					return nil
				}
				got, err := io.ReadAll(metadata)
				if string(got) != metadataOf(members[i]) {
					t.Fatalf("[%d,%d): other metadata of %d", from, to, i)
				}
				return err
			})
			if err != nil || next != to {
				t.Fatalf("[%d,%d): ended at %d: %v", from, to, next, err)
			}
		}
	}
	stop := errors.New("stop")
	if err := d.Details(t.Context(), stored, 0, 60, func(int, *dicom.Layout, io.Reader) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("%v, want fn's own error", err)
	}
	for _, r := range [][2]int{{-1, 1}, {0, 61}, {5, 4}} {
		if err := d.Details(t.Context(), stored, r[0], r[1], nil); !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("%v: %v, want storage.ErrInvalid", r, err)
		}
	}
}

func TestFind(t *testing.T) {
	d := directory(t, read(t, build(t, pack.Options{}, ctSeries(120, 10, 50))))
	for n := 1; n <= 120; n++ {
		sop := fmt.Sprintf("%s.%d", series, n)
		if i, ok := d.Find(sop); !ok || d.Entries[i].Key.SOPInstanceUID != sop || i != n-1 {
			t.Errorf("Find %s: %d, %t", sop, i, ok)
		}
	}
	for _, sop := range []string{"", "1", series, series + ".0", series + ".121", series + ".1.1"} {
		if i, ok := d.Find(sop); ok {
			t.Errorf("Find %q: %d", sop, i)
		}
	}
}

// TestConflicts packs instances that share their SOPInstanceUID.
func TestConflicts(t *testing.T) {
	members := []pack.Member{instance(7, 1000, 100), instance(8, 900, 100), instance(9, 800, 100), instance(10, 700, 100)}
	members[1].Key, members[2].Key = members[0].Key, members[0].Key
	p := build(t, pack.Options{Conflict: true}, members)
	stored := read(t, p)
	checkDirectory(t, stored, members)
	d := directory(t, stored)
	if i, ok := d.Find(members[0].Key.SOPInstanceUID); !ok || i != 0 || !d.Conflict {
		t.Errorf("Find: %d, %t; conflict %t", i, ok, d.Conflict)
	}
	if found := problems(t, stored); len(found) != 0 {
		t.Error(found)
	}
	names := map[string]bool{}
	for _, e := range pythonList(t, writeFile(t, stored)) {
		names[e.name] = true
	}
	if len(names) != len(members)+2 {
		t.Errorf("the entries' names are not unique: %v", names)
	}
}

func TestIDAndKey(t *testing.T) {
	members := ctSeries(5, 10, 50)
	generation := int64(0)
	id := func(conflict bool, members []pack.Member) string {
		return pack.ID(study, series, conflict, generation, func(yield func(string, storage.Digest) bool) {
			for _, m := range members {
				if !yield(m.Key.SOPInstanceUID, m.Digest) {
					return
				}
			}
		})
	}
	reversed := slices.Clone(members)
	slices.Reverse(reversed)
	changed := slices.Clone(members)
	changed[2].Digest[31]++
	want := id(false, members)
	if len(want) != 32 || want != id(false, reversed) {
		t.Errorf("ID %q depends on the order", want)
	}
	if want == id(false, changed) || want == id(false, members[1:]) || want == id(true, members) {
		t.Errorf("ID %q is that of other members", want)
	}
	if generation = 1; want == id(false, members) {
		t.Errorf("ID %q is that of another generation", want)
	}
	if key := pack.Key(study, series, want, false); key != "studies/"+study+"/"+series+"/"+want+".zip" {
		t.Error(key)
	}
	if key := pack.Key(study, series, want, true); key != "conflicts/"+study+"/"+series+"/"+want+".zip" {
		t.Error(key)
	}
}

// TestSpoolLeavesNothing: the file of a spool has no name even while in use.
func TestSpoolLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	p := build(t, pack.Options{SpoolDir: dir, SpoolMemory: 100}, ctSeries(20, 100, 20_000))
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(names) != 0 {
		t.Errorf("the spool has the names %q (%v)", names, err)
	}
	checkDirectory(t, read(t, p), ctSeries(20, 100, 20_000))
	if _, err := pack.Build(t.Context(), pack.Options{SpoolDir: filepath.Join(dir, "missing"), SpoolMemory: 1}, ctSeries(20, 100, 20_000)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a spool in a missing folder: %v", err)
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
