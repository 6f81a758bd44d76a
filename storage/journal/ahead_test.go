package journal_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/iotest"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// TestAhead: a large file can be read before it has a record, and others get
// theirs meanwhile.
func TestAhead(t *testing.T) {
	large := bytes.Repeat([]byte("large"), 1000)
	var j *journal.Journal
	var between journal.Entry
	ahead := func(_ context.Context, f journal.LargeFile) {
		r, err := f.Open()
		if err != nil {
			t.Error(err)
			return
		}
		defer r.Close()
		if b, err := io.ReadAll(struct{ io.Reader }{r}); err != nil || !bytes.Equal(b, large) || f.Size != int64(len(large)) {
			t.Errorf("%d bytes of %d, %v", len(b), f.Size, err)
		}
		between = put(t, j, "", "small", []byte("small"))
	}
	j = open(t, journal.Options{InlineBytes: 100, Ahead: ahead})
	e := put(t, j, "", "large", large)
	if between.Position == (journal.Position{}) || between.Position.Compare(e.Position) >= 0 {
		t.Errorf("the small one lies at %v, the large one at %v", between.Position, e.Position)
	}
	if got := get(t, j, e.Position, storage.Range{Length: e.Size}); !bytes.Equal(got, large) {
		t.Error("the large one differs")
	}
}

// TestLargeFileTwice: who gives up on a large file takes nothing away from the
// next who writes it.
func TestLargeFileTwice(t *testing.T) {
	body := bytes.Repeat([]byte("large"), 1000)
	j := open(t, journal.Options{InlineBytes: 100})
	e := put(t, j, "", "large", body)
	number := e.Position.Segment
	f, err := j.Follow(number, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := newTwin(t, j.ID(), newMemFS(1))
	var id uint64
	for {
		p, err := f.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if p.Kind == journal.PieceLarge {
			p.Body.Close()
			id = p.Large
			first, began := make(chan error, 1), make(chan struct{})
			rest, cut := io.Pipe()
			go func() { first <- w.copy.WriteLarge(t.Context(), id, p.Size, rest) }()
			go func() {
				cut.Write(body[:10])
				close(began)
				cut.CloseWithError(iotest.ErrTimeout)
			}()
			<-began
			if err := w.copy.WriteLarge(t.Context(), id, p.Size, bytes.NewReader(body)); err != nil {
				t.Fatal(err)
			}
			if err := <-first; !errors.Is(err, iotest.ErrTimeout) {
				t.Fatal(err)
			}
			continue
		}
		if err := w.copy.Write(t.Context(), number, p.Offset, p.Bytes); err != nil {
			t.Fatal(err)
		}
		if id != 0 {
			break // that was its record
		}
	}
	if _, err := w.copy.Sync(number); err != nil {
		t.Fatal(err)
	}
	r, err := w.copy.Read(t.Context(), e.Position, storage.Range{Length: e.Size})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if b, err := io.ReadAll(struct{ io.Reader }{r}); err != nil || !bytes.Equal(b, body) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

// TestRemoveStrays: a large file whose record does not come counts, and goes
// when it is old; its record is refused then until the file has come again.
func TestRemoveStrays(t *testing.T) {
	body := bytes.Repeat([]byte("large"), 1000)
	j := open(t, journal.Options{InlineBytes: 100})
	number := put(t, j, "", "large", body).Position.Segment
	w := newTwin(t, j.ID(), newMemFS(1))
	// bring sends the segment; stray is called when its large file is there.
	bring := func(stray func()) error {
		t.Helper()
		defer w.copy.GiveUp(number)
		f, err := j.Follow(number, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for came := false; ; {
			p, err := f.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if p.Kind == journal.PieceLarge {
				err = w.copy.WriteLarge(t.Context(), p.Large, p.Size, p.Body)
				p.Body.Close()
				if err != nil {
					t.Fatal(err)
				}
				stray()
				came = true
				continue
			}
			if err := w.copy.Write(t.Context(), number, p.Offset, p.Bytes); err != nil || came {
				if err == nil {
					_, err = w.copy.Sync(number)
				}
				return err
			}
		}
	}
	size := int64(len(body))
	old := time.Now().Add(time.Hour)
	err := bring(func() {
		before := w.copy.Stats().Bytes
		w.copy.RemoveStrays(time.Now().Add(-time.Hour)) // it is younger
		if w.copy.Stats().Bytes != before {
			t.Error("what just came is gone")
		}
		w.copy.RemoveStrays(old)
		if gone := before - w.copy.Stats().Bytes; gone != size {
			t.Errorf("%d bytes are gone, not %d", gone, size)
		}
	})
	if !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("a record without its file: %v", err)
	}
	if err := bring(func() {}); err != nil {
		t.Fatal(err)
	}
	before := w.copy.Stats().Bytes
	w.copy.RemoveStrays(old)
	if w.copy.Stats().Bytes != before || before < size {
		t.Errorf("%d bytes, then %d", before, w.copy.Stats().Bytes)
	}
	if err := w.copy.Verify(t.Context(), func(_ journal.Entry, err error) error { return err }); err != nil {
		t.Error(err)
	}
}
