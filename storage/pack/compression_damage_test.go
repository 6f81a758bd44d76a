package pack_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/pack"
)

// TestCompressedMemberIsAnother builds from a member that is not what its
// CRC-32 says, and reads from one that changed between two readings.
func TestCompressedMemberIsAnother(t *testing.T) {
	for _, c := range settings() {
		for name, damaged := range map[string]func([]byte) []byte{
			"changed": func(b []byte) []byte { b[len(b)/2]++; return b },
			"cut":     func(b []byte) []byte { return b[:len(b)-1] },
			"empty":   func([]byte) []byte { return nil },
		} {
			if testing.Short() && name != "changed" {
				continue
			}
			bad := images()[:3]
			whole, err := readRange(memberBlob{bad[2]}, storage.Range{Length: bad[2].Size})
			if err != nil {
				t.Fatal(err)
			}
			bytesOf := func() []byte { return whole }
			bad[2].Open = func(_ context.Context, r storage.Range) (io.ReadCloser, error) {
				b := bytesOf()
				return io.NopCloser(bytes.NewReader(b[min(r.Offset, int64(len(b))):min(r.End(), int64(len(b)))])), nil
			}
			p := build(t, pack.Options{Compression: c, SpoolInstances: 1}, bad)
			bytesOf = func() []byte { return damaged(bytes.Clone(whole)) }
			if _, err := readRange(p, storage.Range{Length: p.Size()}); !errors.Is(err, storage.ErrCorrupt) || !strings.Contains(fmt.Sprint(err), bad[2].Key.SOPInstanceUID) {
				t.Errorf("%s: %s since: %v, want storage.ErrCorrupt that names the instance", c, name, err)
			}
			if _, err := pack.Build(t.Context(), pack.Options{Compression: c}, bad); !errors.Is(err, storage.ErrCorrupt) || !strings.Contains(fmt.Sprint(err), bad[2].Key.SOPInstanceUID) {
				t.Errorf("%s: %s before: %v, want storage.ErrCorrupt that names the instance", c, name, err)
			}
		}
	}
}

// TestDamagedBlockIsNotGivenAway: not one byte of it, and all before it.
func TestDamagedBlockIsNotGivenAway(t *testing.T) {
	members := []pack.Member{image(1, 8, 256<<10)}
	whole, err := readRange(memberBlob{members[0]}, storage.Range{Length: members[0].Size})
	if err != nil {
		t.Fatal(err)
	}
	tries := 15
	if testing.Short() {
		tries = 4
	}
	for _, c := range settings() {
		stored := read(t, build(t, pack.Options{Compression: c}, members))
		d := directory(t, stored)
		e := d.Entries[0]
		rng := rand.New(rand.NewPCG(8, 8))
		for range tries {
			bad := slices.Clone(stored)
			at := e.Offset + rng.Int64N(e.Stored().Length)
			bad[at] ^= 1 << rng.IntN(8)
			rc, err := d.Open(t.Context(), bad, 0, storage.Range{Length: e.Size})
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(rc)
			if err == nil && bytes.Equal(got, whole) {
				continue // a bit that means nothing
			}
			if !errors.Is(err, storage.ErrCorrupt) || !bytes.HasPrefix(whole, got) {
				t.Errorf("%s: byte %d flipped: %d bytes came, as they were: %t (%v)", c, at, len(got), bytes.HasPrefix(whole, got), err)
			}
			if err := rc.Close(); err != nil {
				t.Error(err)
			}
			if found := strings.Join(problems(t, bad), "\n"); !strings.Contains(found, e.Key.SOPInstanceUID) {
				t.Errorf("%s: Verify names %q", c, found)
			}
		}
	}
}

// TestReaderIsClosedEarly leaves blocks that are read ahead, and a blob that
// does not answer.
func TestReaderIsClosedEarly(t *testing.T) {
	before := runtime.NumGoroutine()
	for _, c := range settings() {
		stored := read(t, build(t, pack.Options{Compression: c}, []pack.Member{image(1, 8, 256<<10)}))
		d := directory(t, stored)
		for n := range 20 {
			rc, err := d.Open(t.Context(), stored, 0, storage.Range{Length: d.Entries[0].Size})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.CopyN(io.Discard, rc, int64(n)<<16); err != nil {
				t.Fatal(err)
			}
			if err := rc.Close(); err != nil {
				t.Fatal(err)
			}
			if n, err := rc.Read(make([]byte, 10)); n > 0 || err == nil {
				t.Errorf("%d bytes came after Close (%v)", n, err)
			}
		}
		rc, err := d.Open(t.Context(), silent{stored}, 0, storage.Range{Length: d.Entries[0].Size})
		if err != nil {
			t.Fatal(err)
		}
		if err := rc.Close(); err != nil {
			t.Error(err)
		}
	}
	// The last block may be on its way out of a goroutine that was told to end.
	for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}

// silent is a blob that sends nothing until it is given up.
type silent struct{ pack.Blob }

func (s silent) Open(ctx context.Context, _ storage.Range) (io.ReadCloser, error) {
	return io.NopCloser(silentReader{ctx}), nil
}

type silentReader struct{ ctx context.Context }

func (r silentReader) Read([]byte) (int, error) {
	<-r.ctx.Done()
	return 0, r.ctx.Err()
}

// FuzzCompressedPack damages packs that were compressed. All that reading them
// may do is fail, or give what was packed.
func FuzzCompressedPack(f *testing.F) {
	members := []pack.Member{image(1, 1, 300<<10), image(2, 1, 16<<10)}
	packs := map[bool]blob{}
	for _, zstd := range []bool{false, true} {
		c := pack.Deflate
		if zstd {
			c = pack.Zstd
		}
		packs[zstd] = read(f, build(f, pack.Options{Compression: c}, members))
		f.Add(zstd, 3000, byte(1), 200_000, byte(4))
		f.Add(zstd, 0, byte(0), 0, byte(0))
	}
	f.Fuzz(func(t *testing.T, zstd bool, first int, flip byte, second int, other byte) {
		stored := slices.Clone(packs[zstd])
		stored[uint(first)%uint(len(stored))] ^= flip
		stored[uint(second)%uint(len(stored))] ^= other
		d, err := pack.ReadDirectory(t.Context(), stored)
		if err != nil {
			return // FuzzReadDirectory looks at that
		}
		for i, e := range d.Entries {
			rc, err := d.Open(t.Context(), stored, i, storage.Range{Length: e.Size})
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(rc)
			if err != nil && !errors.Is(err, storage.ErrCorrupt) {
				t.Fatal(err)
			}
			if want, _ := readRange(memberBlob{members[i]}, storage.Range{Length: e.Size}); err == nil && !bytes.Equal(got, want) {
				t.Fatalf("instance %d: other bytes", i)
			}
			rc.Close()
		}
		problems(t, stored)
	})
}
