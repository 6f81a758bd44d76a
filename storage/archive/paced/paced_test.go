package paced

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/archive/archivetest"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
)

func TestArchive(t *testing.T) {
	archivetest.Run(t, func(testing.TB) archive.Archive { return Archive{mem.New(), NewLimit(1 << 40)} })
}

// TestRate: bytes have their time, one reader's after the other's, and what
// was not used is not saved up.
func TestRate(t *testing.T) {
	l, now := NewLimit(1000), time.Unix(0, 0)
	for _, c := range []struct {
		after time.Duration
		bytes int
		want  time.Duration
	}{
		{0, 500, 500 * time.Millisecond},
		{0, 500, time.Second},
		{400 * time.Millisecond, 100, 700 * time.Millisecond},
		{time.Hour, 100, 100 * time.Millisecond},
	} {
		now = now.Add(c.after)
		if got := l.reserve(now, c.bytes); got != c.want {
			t.Errorf("%d bytes after %v wait for %v, want %v", c.bytes, c.after, got, c.want)
		}
	}
}

// TestEnds: who waits for a slow limit ends with its context.
func TestEnds(t *testing.T) {
	a := Archive{mem.New(), NewLimit(1)}
	if _, err := a.Put(t.Context(), "k", archivetest.Random(1, 100)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	in, err := a.Get(ctx, "k", storage.Range{Length: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	cancel()
	if _, err := io.ReadAll(in); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
