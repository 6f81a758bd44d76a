package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
)

// makeSegment returns the bytes of a segment with four records, and where
// they begin. The body of the last was written before its record, behind a gap.
func makeSegment(t testing.TB) (b []byte, number uint64, entries []Entry, dir string) {
	t.Helper()
	dir = t.TempDir()
	j, err := Open(context.Background(), Options{Dir: dir, EarlyBytes: earlyAlign, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{"", "a payload", string(make([]byte, 200)), string(make([]byte, earlyAlign))} {
		a := j.NewAppend(context.Background())
		if _, err := io.WriteString(a, body); err != nil {
			t.Fatal(err)
		}
		p, err := a.Commit([]byte("prefix"), []byte("header"), nil)
		if err != nil {
			t.Fatal(err)
		}
		e, err := p.Wait(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	number = entries[0].Position.Segment
	if b, err = os.ReadFile(j.segmentPath(number)); err != nil {
		t.Fatal(err)
	}
	if gap := b[entries[3].Position.Offset+52:]; binary.LittleEndian.Uint32(gap) == 0 {
		t.Fatal("there is no gap before the last body")
	}
	return b, number, entries, dir
}

// FuzzRecord parses any bytes as a record: what is accepted is within the
// bytes and says the same when it is encoded again.
func FuzzRecord(f *testing.F) {
	b, _, entries, _ := makeSegment(f)
	h, err := parseSegmentHeader(b)
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range entries {
		f.Add(b[e.Position.Offset:], h.salt, e.Position.Offset)
	}
	hostile := bytes.Clone(b[64:])
	binary.LittleEndian.PutUint64(hostile[32:], 1<<63-1) // bodyLen
	f.Add(hostile, h.salt, int64(64))
	f.Fuzz(func(t *testing.T, b []byte, salt uint64, offset int64) {
		if offset < 0 || offset > 1<<40 {
			return
		}
		file := shifted{b, offset}
		r, err := readRecord(file, salt, offset, offset+int64(len(b)), make([]byte, headerGuess))
		if err != nil {
			if !errors.Is(err, storage.ErrCorrupt) {
				t.Fatalf("%v is not storage.ErrCorrupt", err)
			}
			return
		}
		if r.end() > offset+int64(len(b)) || r.end() <= offset || r.durable > offset {
			t.Fatalf("accepted: %+v of %d bytes", r, len(b))
		}
		if again := r.encode(salt); !bytes.Equal(again[:56], b[:56]) {
			t.Fatalf("% x is encoded as % x", b[:64], again)
		}
	})
}

// shifted is a file that has its first byte at an offset.
type shifted struct {
	b  []byte
	at int64
}

func (s shifted) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(s.b).ReadAt(p, off-s.at)
}

// FuzzSegment opens a journal whose only segment is damaged: Open, Replay,
// Read and Verify return, with errors that say what it is, and what Verify
// calls good is what was written.
func FuzzSegment(f *testing.F) {
	good, number, entries, dir := makeSegment(f)
	id, err := os.ReadFile(filepath.Join(dir, idFile))
	if err != nil {
		f.Fatal(err)
	}
	whole := map[Position]int64{}
	for _, e := range entries {
		whole[e.Position] = e.Size
	}
	f.Add(0, []byte{}, len(good))
	f.Add(0, []byte{}, 200)
	f.Add(80, []byte{1, 2, 3}, len(good))
	f.Add(130, []byte{0xff, 0xff, 0xff, 0x7f}, len(good))
	f.Fuzz(func(t *testing.T, at int, patch []byte, size int) {
		if at < 0 || size < 0 || size > 1<<16 || at > size {
			return
		}
		b := make([]byte, size)
		copy(b, good)
		copy(b[at:], patch)
		dir := t.TempDir()
		o := Options{Dir: dir, ReadOnly: true, Logger: slog.New(slog.DiscardHandler)}
		j := &Journal{o: o}
		if err := errors.Join(os.WriteFile(filepath.Join(dir, idFile), id, 0o600),
			os.WriteFile(j.segmentPath(number), b, 0o600)); err != nil {
			t.Fatal(err)
		}
		checkFuzzed(t, o, whole)
		o.ReadOnly = false
		if j, err := Open(t.Context(), o); err == nil {
			j.Close()
		} else if !errors.Is(err, storage.ErrCorrupt) {
			t.Fatal(err)
		}
		o.AllowDamage = true
		checkFuzzed(t, o, whole)
	})
}

func checkFuzzed(t *testing.T, o Options, whole map[Position]int64) {
	j, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	err = j.Verify(t.Context(), func(e Entry, err error) error {
		if err != nil {
			if !errors.Is(err, storage.ErrCorrupt) && !errors.Is(err, ErrTornTail) {
				t.Fatal(err)
			}
			return nil
		}
		if n, ok := whole[e.Position]; !ok || n != e.Size {
			t.Fatalf("%+v is called good", e)
		}
		r, err := j.Read(t.Context(), e.Position, storage.Range{Length: e.Size})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		n, err := io.Copy(io.Discard, r)
		if err != nil || n != e.Size {
			t.Fatalf("read %d of %d: %v", n, e.Size, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// FuzzCopy writes a damaged segment into a copy, in two pieces: it is refused
// with an error that says why, and what is called durable is what was written.
func FuzzCopy(f *testing.F) {
	good, number, entries, dir := makeSegment(f)
	id, err := readID(osFS{}, filepath.Join(dir, idFile))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(0, []byte{}, len(good), 64)
	f.Add(0, []byte{}, len(good)-8, 100)
	f.Add(80, []byte{1, 2, 3}, len(good), 200)
	f.Add(96, []byte{0xff, 0xff, 0xff, 0x7f}, len(good), 150)
	f.Fuzz(func(t *testing.T, at int, patch []byte, size, cut int) {
		if at < 0 || size < 0 || size > 1<<16 || at > size || cut < 0 || cut > size {
			return
		}
		b := make([]byte, size)
		copy(b, good)
		copy(b[at:], patch)
		c, err := OpenCopy(t.Context(), ID(id[len(idMagic):]).String(), Options{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err = c.Write(t.Context(), number, 0, b[:cut]); err == nil {
			err = c.Write(t.Context(), number, int64(cut), b[cut:])
		}
		if err != nil && !errors.Is(err, storage.ErrCorrupt) && !errors.Is(err, storage.ErrInvalid) {
			t.Fatal(err)
		}
		end, err := c.Sync(number)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			t.Fatal(err)
		}
		if int64(at) >= end && end > int64(len(good)) {
			t.Fatalf("%d bytes are durable of %d", end, len(good))
		}
		n := 0
		err = c.Verify(t.Context(), func(e Entry, err error) error {
			if err == nil && int64(at) >= end && e.Position != entries[n].Position {
				t.Fatalf("%+v is not what was written", e)
			}
			n++
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
