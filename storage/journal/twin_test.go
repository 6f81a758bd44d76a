package journal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// twin is a journal and its copy on another disk.
type twin struct {
	id      string
	disk    *memFS
	copy    *journal.Copy
	durable map[uint64]int64 // what the copy said is durable
}

func copyOptions(disk *memFS) journal.Options {
	return journal.Options{Dir: "c", FS: disk, Logger: slog.New(slog.DiscardHandler)}
}

func newTwin(t *testing.T, id string, disk *memFS) *twin {
	t.Helper()
	w := &twin{id: id, disk: disk, durable: map[uint64]int64{}}
	w.open(t)
	return w
}

func (w *twin) open(t *testing.T) {
	t.Helper()
	c, err := journal.OpenCopy(t.Context(), w.id, copyOptions(w.disk))
	if err != nil {
		t.Fatal(err)
	}
	w.copy = c
	t.Cleanup(func() { c.Close() })
}

// take brings a segment to the copy up to where it is written now, or to its
// end. It syncs every few pieces.
func (w *twin) take(ctx context.Context, j *journal.Journal, number uint64, rnd *rand.Rand) (err error) {
	defer func() {
		if err != nil {
			w.copy.GiveUp(number)
		}
	}()
	from := int64(0)
	for _, e := range w.copy.Extents() {
		if e.Segment == number {
			if from = e.End; e.Whole {
				return nil
			}
		}
	}
	f, err := j.Follow(number, from)
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrInvalid) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		now, cancel := context.WithCancel(ctx)
		if w.reached(j, number, from) {
			cancel() // what is there is given, and nothing is waited for
		}
		p, err := f.Next(now)
		cancel()
		switch {
		case errors.Is(err, context.Canceled), errors.Is(err, io.EOF), errors.Is(err, storage.ErrNotFound):
			return w.sync(number)
		case err != nil:
			return err
		}
		if p.Kind == journal.PieceBytes {
			from = p.Offset + int64(len(p.Bytes))
		}
		if err := w.put(ctx, number, p); err != nil {
			return err
		}
		if rnd.IntN(4) == 0 {
			if err := w.sync(number); err != nil {
				return err
			}
		}
	}
}

// reached tells whether all that is written by now was given.
func (w *twin) reached(j *journal.Journal, number uint64, at int64) bool {
	for _, s := range j.Segments() {
		if s.Number == number {
			return !s.Sealed && s.End <= at
		}
	}
	return false
}

func (w *twin) put(ctx context.Context, number uint64, p journal.Piece) error {
	switch p.Kind {
	case journal.PieceBytes:
		return w.copy.Write(ctx, number, p.Offset, p.Bytes)
	case journal.PieceLarge:
		defer p.Body.Close()
		return w.copy.WriteLarge(ctx, p.Large, p.Size, p.Body)
	default:
		err := w.copy.End(ctx, number, p.Offset)
		if err == nil {
			w.durable[number] = p.Offset
		}
		return err
	}
}

func (w *twin) sync(number uint64) error {
	end, err := w.copy.Sync(number)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err == nil {
		w.durable[number] = end
	}
	return err
}

// check opens the copy again and finds all that it called durable.
func (w *twin) check(t *testing.T) {
	t.Helper()
	has := map[uint64]int64{}
	for _, e := range w.copy.Extents() {
		has[e.Segment] = e.End
	}
	for number, end := range w.durable {
		if has[number] < end {
			t.Errorf("segment %d was durable up to %d and has %d", number, end, has[number])
		}
	}
	err := w.copy.Verify(t.Context(), func(e journal.Entry, err error) error {
		// Offset 0: a segment that ends before the next says it does.
		if at := e.Position; err != nil && at.Offset > 0 && at.Offset < w.durable[at.Segment] {
			t.Errorf("verify: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// same holds the copy against the original: every segment that the original
// has is there, byte for byte.
func (w *twin) same(t *testing.T, j *journal.Journal, original *memFS) {
	t.Helper()
	var a, b []string
	for _, e := range replay(t, j, journal.Position{}) {
		a = append(a, fmt.Sprint(e.Position, e.Size, string(e.Header)))
	}
	err := w.copy.Replay(t.Context(), journal.Position{}, func(e journal.Entry) error {
		b = append(b, fmt.Sprint(e.Position, e.Size, string(e.Header)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Join(a, "\n") != strings.Join(b, "\n") {
		t.Errorf("the copy has %d entries:\n%s\nthe original %d:\n%s", len(b), strings.Join(b, "\n"), len(a), strings.Join(a, "\n"))
	}
	err = w.copy.Verify(t.Context(), func(_ journal.Entry, err error) error { return err })
	if err != nil {
		t.Error(err)
	}
	for _, s := range j.Segments() {
		name := fmt.Sprintf("/%016x.segment", s.Number)
		if s.Entries > 0 && !bytes.Equal(original.live["j"+name].live[:s.End], w.disk.live["c"+name].live) {
			t.Errorf("segment %d differs", s.Number)
		}
	}
}

// pump brings all segments to the copy, in any order.
func (w *twin) pump(ctx context.Context, j *journal.Journal, rnd *rand.Rand) error {
	list := j.Segments()
	rnd.Shuffle(len(list), func(a, b int) { list[a], list[b] = list[b], list[a] })
	for _, s := range list {
		if err := w.take(ctx, j, s.Number, rnd); err != nil {
			return err
		}
	}
	return nil
}

// prune removes from the copy what the original removed.
func (w *twin) prune(t *testing.T, j *journal.Journal) {
	t.Helper()
	there := map[uint64]bool{}
	for _, s := range j.Segments() {
		there[s.Number] = s.Entries > 0
	}
	for _, e := range w.copy.Extents() {
		if there[e.Segment] {
			continue
		}
		if err := w.copy.End(t.Context(), e.Segment, e.End); err != nil {
			t.Fatal(err)
		}
		if err := w.copy.Remove(t.Context(), e.Segment); err != nil {
			t.Fatal(err)
		}
		delete(w.durable, e.Segment)
	}
}
