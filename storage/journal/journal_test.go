package journal_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/journal"
)

func open(t testing.TB, o journal.Options) *journal.Journal {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	j, err := journal.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return j
}

// put makes one entry durable.
func put(t testing.TB, j *journal.Journal, prefix, header string, body []byte) journal.Entry {
	t.Helper()
	e, err := tryPut(t.Context(), j, prefix, header, body)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func tryPut(ctx context.Context, j *journal.Journal, prefix, header string, body []byte) (journal.Entry, error) {
	a := j.NewAppend(ctx)
	if _, err := a.Write(body); err != nil {
		a.Abort()
		return journal.Entry{}, err
	}
	p, err := a.Commit([]byte(prefix), []byte(header), header)
	if err != nil {
		return journal.Entry{}, err
	}
	return p.Wait(ctx)
}

func get(t testing.TB, j *journal.Journal, at journal.Position, part storage.Range) []byte {
	t.Helper()
	r, err := j.Read(t.Context(), at, part)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(struct{ io.Reader }{r})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func random(t testing.TB, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

func replay(t testing.TB, j *journal.Journal, after journal.Position) []journal.Entry {
	t.Helper()
	var list []journal.Entry
	err := j.Replay(t.Context(), after, func(e journal.Entry) error {
		list = append(list, e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestWhatIsAppendedIsReadBack(t *testing.T) {
	for _, size := range []int{0, 1, 7, 8, 4095, 4096, 4097, 100_000, 1 << 20, 1<<20 + 1, 5 << 20} {
		for _, prefix := range []string{"", "DICM and some File Meta Information"} {
			o := journal.Options{Dir: t.TempDir()}
			j := open(t, o)
			body := random(t, size)
			e := put(t, j, prefix, "header", body)
			want := append([]byte(prefix), body...)
			check := func(j *journal.Journal) {
				t.Helper()
				n := int64(len(want))
				if e.Size != n {
					t.Fatalf("size is %d, not %d", e.Size, n)
				}
				for _, r := range []storage.Range{{Length: n}, {Offset: n / 3, Length: n / 2}, {Offset: n}, {Offset: n / 2, Length: n - n/2}} {
					if got := get(t, j, e.Position, r); !bytes.Equal(got, want[r.Offset:r.End()]) {
						t.Errorf("size %d prefix %d: range %+v differs", size, len(prefix), r)
					}
					rc, err := j.Read(t.Context(), e.Position, r)
					if err != nil {
						t.Fatal(err)
					}
					var b bytes.Buffer
					if n, err := io.Copy(&b, rc); err != nil || n != r.Length || !bytes.Equal(b.Bytes(), want[r.Offset:r.End()]) {
						t.Errorf("size %d: WriteTo of %+v gave %d bytes, %v", size, r, n, err)
					}
					rc.Close()
				}
				h, err := j.Header(t.Context(), e.Position)
				if err != nil || string(h.Header) != "header" || h.Size != n {
					t.Errorf("header: %+v, %v", h, err)
				}
			}
			check(j)
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			check(open(t, o))
		}
	}
}

func TestReadRefusesWhatIsNotThere(t *testing.T) {
	j := open(t, journal.Options{})
	e := put(t, j, "", "h", []byte("12345"))
	for name, c := range map[string]struct {
		at   journal.Position
		part storage.Range
		want error
	}{
		"zero":           {journal.Position{}, storage.Range{}, storage.ErrNotFound},
		"other segment":  {journal.Position{Segment: 99, Offset: 64}, storage.Range{}, storage.ErrNotFound},
		"after the end":  {journal.Position{Segment: e.Position.Segment, Offset: 1 << 40}, storage.Range{}, storage.ErrNotFound},
		"negative":       {journal.Position{Segment: e.Position.Segment, Offset: -8}, storage.Range{}, storage.ErrNotFound},
		"within":         {journal.Position{Segment: e.Position.Segment, Offset: e.Position.Offset + 8}, storage.Range{}, storage.ErrCorrupt},
		"range too long": {e.Position, storage.Range{Length: 6}, storage.ErrInvalid},
		"range before":   {e.Position, storage.Range{Offset: -1, Length: 2}, storage.ErrInvalid},
	} {
		if _, err := j.Read(t.Context(), c.at, c.part); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
