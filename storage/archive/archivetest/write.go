package archivetest

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
)

func testNeverOverwrites(t *testing.T, a archive.Archive) {
	first := Random(10, 1<<20+100)
	put(t, a, "a/b", first)
	put(t, a, "a/b", first) // the same bytes are success
	lastByte := append(Bytes(nil), first...)
	lastByte[len(lastByte)-1]++
	for name, other := range map[string]Bytes{
		"empty": {}, "shorter": first[:100], "longer": append(first[:len(first):len(first)], 0), "one byte": lastByte,
	} {
		if _, err := a.Put(t.Context(), "a/b", other); !errors.Is(err, storage.ErrConflict) {
			t.Errorf("Put of other bytes (%s): %v, want storage.ErrConflict", name, err)
		}
		holds(t, a, "a/b", first)
	}
}

// race puts contents under one key at the same time and returns the errors.
func race(t *testing.T, a archive.Archive, contents []Bytes) []error {
	errs := make([]error, len(contents))
	start := make(chan struct{})
	var all sync.WaitGroup
	for i, b := range contents {
		all.Go(func() {
			<-start
			_, errs[i] = a.Put(t.Context(), "race/a", b)
		})
	}
	close(start)
	all.Wait()
	return errs
}

func testRaceSame(t *testing.T, a archive.Archive) {
	contents := make([]Bytes, 16)
	for i := range contents {
		contents[i] = Random(20, 200_000)
	}
	for _, err := range race(t, a, contents) {
		if err != nil {
			t.Errorf("Put of the same bytes: %v", err)
		}
	}
	holds(t, a, "race/a", contents[0])
}

func testRaceOther(t *testing.T, a archive.Archive) {
	contents := make([]Bytes, 16)
	for i := range contents {
		contents[i] = Random(byte(30+i), 200_000)
	}
	checkRace(t, a, contents, 1)
}

func testRaceBoth(t *testing.T, a archive.Archive) {
	contents := make([]Bytes, 16)
	for i := range contents {
		contents[i] = Random(byte(50+i%2), 200_000)
	}
	checkRace(t, a, contents, 8)
}

// checkRace expects one content to win, with its putters, and every putter of
// another to meet storage.ErrConflict.
func checkRace(t *testing.T, a archive.Archive, contents []Bytes, winners int) {
	var won []Bytes
	for i, err := range race(t, a, contents) {
		switch {
		case err == nil:
			won = append(won, contents[i])
		case !errors.Is(err, storage.ErrConflict):
			t.Errorf("the loser of a race: %v, want storage.ErrConflict", err)
		}
	}
	if len(won) != winners {
		t.Fatalf("%d Puts of %d succeeded, want %d", len(won), len(contents), winners)
	}
	for _, w := range won {
		holds(t, a, "race/a", w)
	}
}

func testFailingSource(t *testing.T, a archive.Archive) {
	data := Random(70, 20<<20)
	for _, c := range []struct {
		name  string
		after int64
		err   error
		want  error
	}{
		{"at once", 0, nil, ErrSource},
		{"midway", 9 << 20, nil, ErrSource},
		{"at the last byte", 20<<20 - 1, nil, ErrSource},
		{"damaged", 9 << 20, storage.ErrCorrupt, storage.ErrCorrupt},
		{"ends early", 9 << 20, io.EOF, storage.ErrCorrupt},
	} {
		_, err := a.Put(t.Context(), "a/b", Failing{Source: data, After: c.after, Err: c.err})
		if !errors.Is(err, c.want) {
			t.Errorf("Put of a source that fails %s: %v, want %v", c.name, err, c.want)
		}
		absent(t, a, "a/b")
	}
	put(t, a, "a/b", data) // and nothing stands in the way of the next Put
	holds(t, a, "a/b", data)
}

func testCancelled(t *testing.T, a archive.Archive) {
	data := Random(71, 20<<20)
	put(t, a, "there", data)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := a.Put(ctx, "a/b", Hooked{Source: data, Hook: func(before int64) {
		if before >= 5<<20 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Put cancelled midway: %v, want context.Canceled", err)
	}
	absent(t, a, "a/b")
	_, getErr := get(ctx, a, "there", storage.Range{Length: 10})
	_, statErr := a.Stat(ctx, "there")
	listErr := error(nil)
	for _, err := range a.List(ctx, "") {
		listErr = err
	}
	for name, err := range map[string]error{"Get": getErr, "Stat": statErr, "List": listErr, "Remove": a.Remove(ctx, "there"), "Check": a.Check(ctx)} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s of a cancelled context: %v, want context.Canceled", name, err)
		}
	}
	holds(t, a, "there", data)
}
