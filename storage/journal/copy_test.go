package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// TestCopyLosesPower copies a journal while it is written, and lets the
// copy's, then the original's power go at every operation. What the copy
// called durable is there, and in the end it is the original.
func TestCopyLosesPower(t *testing.T) {
	for at := 1; at <= 70; at++ {
		for seed := range uint64(2) {
			t.Run(fmt.Sprintf("copy's operation %d seed %d", at, seed), func(t *testing.T) {
				copyLives(t, seed, func(int) int { return at })
			})
		}
	}
}

func TestCopyLosesPowerAtRandom(t *testing.T) {
	base := rand.Uint64()
	for i := range fewer(120) {
		seed := base + i
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 3))
			copyLives(t, seed, func(int) int { return 1 + rnd.IntN(120) })
		})
	}
}

func copyLives(t *testing.T, seed uint64, crashAt func(life int) int) {
	rnd := rand.New(rand.NewPCG(seed, 8))
	original, world := newMemFS(seed), newWorld()
	j, err := journal.Open(t.Context(), memOptions(original))
	if err != nil {
		t.Fatal(err)
	}
	w := newTwin(t, j.ID(), newMemFS(seed+1000))
	for life := range 3 {
		w.disk.mu.Lock()
		w.disk.crashAt = w.disk.ops + crashAt(life)
		w.disk.mu.Unlock()
		for range 6 {
			world.live(t.Context(), j, rnd.Uint64(), 1)
			if err := w.pump(t.Context(), j, rnd); err != nil {
				break
			}
		}
		w.disk = w.disk.reboot()
		w.open(t)
		w.check(t)
		if rnd.IntN(2) == 0 { // the original loses power, too
			original.mu.Lock()
			original.dead = true
			original.mu.Unlock()
			_ = j.Close()
			original = original.reboot()
			if j, err = journal.Open(t.Context(), memOptions(original)); err != nil {
				t.Fatal(err)
			}
			world.check(t, j, original)
		}
	}
	defer j.Close()
	if err := w.pump(t.Context(), j, rnd); err != nil {
		t.Fatal(err)
	}
	w.prune(t, j)
	w.same(t, j, original)
	if err := w.copy.Close(); err != nil {
		t.Fatal(err)
	}
	w.disk = w.disk.reboot()
	w.open(t)
	w.check(t)
}

// TestCopyFollowsWhileMany: a follower that runs beside many appenders gives
// all, and a failed fsync of the original is cut from the copy, too.
func TestCopyFollowsWhileMany(t *testing.T) {
	original := newMemFS(3)
	fails := 0
	original.failSync = func(name string) bool {
		fails++
		return strings.HasSuffix(name, ".segment") && fails%13 == 0
	}
	j := openMem(t, original)
	w := newTwin(t, j.ID(), newMemFS(4))
	var senders sync.WaitGroup
	for i := range 4 {
		senders.Go(func() {
			for k := range 60 {
				size := 100 + 37*k
				_, _ = tryPut(t.Context(), j, "prefix", fmt.Sprint(i, k), bytes.Repeat([]byte{byte(k)}, size)) // some are refused
			}
		})
	}
	done := make(chan struct{})
	go func() { senders.Wait(); close(done) }()
	rnd := rand.New(rand.NewPCG(1, 1))
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		if err := w.pump(t.Context(), j, rnd); err != nil {
			t.Fatal(err)
		}
	}
	if j.Stats().Poisoned == 0 {
		t.Error("no fsync failed")
	}
	w.prune(t, j)
	w.same(t, j, original)
}

// TestCopyRefuses: what is no part of the journal is not taken, and nothing
// after it was retired.
func TestCopyRefuses(t *testing.T) {
	original := newMemFS(1)
	j := openMem(t, original)
	e := put(t, j, "", "h", random(t, 300))
	number := e.Position.Segment
	b := original.live[fmt.Sprintf("j/%016x.segment", number)].live
	other := openMem(t, newMemFS(2))
	flipped := bytes.Clone(b)
	flipped[200] ^= 1
	for name, c := range map[string]struct {
		number uint64
		at     int64
		bytes  []byte
		want   error
	}{
		"not from the beginning": {number, 64, b[64:], storage.ErrInvalid},
		"no header":              {number, 0, b[:50], storage.ErrCorrupt},
		"another number":         {number + 1, 0, b, storage.ErrInvalid},
		"a flipped bit":          {number, 0, flipped, storage.ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTwin(t, j.ID(), newMemFS(9))
			if err := w.copy.Write(t.Context(), c.number, c.at, c.bytes); !errors.Is(err, c.want) {
				t.Errorf("%v", err)
			}
			if err := w.copy.Write(t.Context(), number, 0, b); err != nil {
				t.Errorf("and then the right bytes: %v", err)
			}
		})
	}
	t.Run("another journal", func(t *testing.T) {
		w := newTwin(t, other.ID(), newMemFS(9))
		if err := w.copy.Write(t.Context(), number, 0, b); !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("%v", err)
		}
		clear(w.disk.locked)
		if _, err := journal.OpenCopy(t.Context(), j.ID(), copyOptions(w.disk)); !errors.Is(err, storage.ErrConflict) {
			t.Errorf("a folder of another journal: %v", err)
		}
	})
	t.Run("retired", func(t *testing.T) {
		w := newTwin(t, j.ID(), newMemFS(9))
		if err := w.copy.Write(t.Context(), number, 0, b); err != nil {
			t.Fatal(err)
		}
		if end, err := w.copy.Sync(number); err != nil || end != int64(len(b)) {
			t.Fatal(end, err)
		}
		w.copy.Retire()
		for _, err := range []error{
			w.copy.Write(t.Context(), number, int64(len(b)), b[64:]),
			w.copy.WriteLarge(t.Context(), 7, 1, strings.NewReader("x")),
			w.copy.End(t.Context(), number, int64(len(b))),
		} {
			if !errors.Is(err, journal.ErrRetired) || !errors.Is(err, storage.ErrUnavailable) {
				t.Errorf("%v", err)
			}
		}
		if h, err := w.copy.Header(t.Context(), e.Position); err != nil || string(h.Header) != "h" {
			t.Errorf("reading on: %v", err)
		}
	})
}

// TestCopyDiskFails: what a failed fsync lost is not called durable, and comes
// again.
func TestCopyDiskFails(t *testing.T) {
	original := newMemFS(1)
	j := openMem(t, original)
	for range 5 {
		put(t, j, "", "h", random(t, 1500))
	}
	disk := newMemFS(2)
	n := 0
	w := newTwin(t, j.ID(), disk)
	disk.failSync = func(string) bool { n++; return n%3 == 1 }
	rnd := rand.New(rand.NewPCG(5, 5))
	failed := 0
	for range 20 {
		if err := w.pump(t.Context(), j, rnd); err == nil {
			break
		} else if !errors.Is(err, storage.ErrUnavailable) && !errors.Is(err, storage.ErrCorrupt) {
			t.Fatal(err)
		}
		failed++
		disk.mu.Lock()
		disk.crashAt = 0
		disk.mu.Unlock()
	}
	if failed == 0 {
		t.Error("no fsync failed")
	}
	w.disk = w.disk.reboot()
	w.open(t)
	w.check(t)
	if err := w.pump(t.Context(), j, rnd); err != nil {
		t.Fatal(err)
	}
	w.same(t, j, original)
}
