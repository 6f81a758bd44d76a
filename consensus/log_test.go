package consensus

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// A log whose disk was full goes on by itself when there is space, without
// what it said it could not store.
func TestTheLogGoesOnAfterAFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("cigogne-test", dir, "tmpfs", 0, "size=100m"); err != nil {
		t.Skipf("no small file system can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	l, err := openLog(dir, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	entry := func(i uint64) *raft.Log { return &raft.Log{Index: i, Term: 1, Data: make([]byte, 1<<20)} }
	at := uint64(0)
	for err == nil && at < 200 {
		if err = l.StoreLog(entry(at + 1)); err == nil {
			at++
		}
	}
	if err == nil {
		t.Fatal("200 MB were stored in 100")
	}
	if err := l.StoreLog(entry(at + 1)); err == nil {
		t.Fatal("the disk is full, and it stores")
	}
	var got raft.Log
	if err := l.GetLog(at, &got); err != nil || got.Index != at {
		t.Errorf("what was stored is not read while the disk is full: %v", err)
	}
	if err := syscall.Mount("cigogne-test", dir, "tmpfs", syscall.MS_REMOUNT, "size=500m"); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(time.Minute)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for l.StoreLog(entry(at+1)) != nil {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("there is space again, and it does not store")
		}
	}
	if last, err := l.LastIndex(); err != nil || last != at+1 {
		t.Errorf("it ends with %d, not %d: %v", last, at+1, err)
	}
	for i := uint64(1); i <= at+1; i++ {
		if err := l.GetLog(i, &got); err != nil || got.Index != i {
			t.Fatal(fmt.Errorf("entry %d: %w", i, err))
		}
	}
}

// TestWhatWasCutIsGone: entries before the first are not given, although their
// bytes may still lie in the file: a newcomer that got them would not ask for
// the snapshot, and begin with less than the others have.
func TestWhatWasCutIsGone(t *testing.T) {
	dir := t.TempDir()
	for _, when := range []string{"at once", "opened again"} {
		l, err := openLog(dir, slog.New(slog.DiscardHandler), nil)
		if err != nil {
			t.Fatal(err)
		}
		if when == "at once" {
			for i := range uint64(6) {
				if err := l.StoreLog(&raft.Log{Index: i + 1, Term: 1, Data: []byte("x")}); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.DeleteRange(1, 4); err != nil {
				t.Fatal(err)
			}
		}
		for i := range uint64(8) {
			var got raft.Log
			err := l.GetLog(i, &got)
			if there := i >= 5 && i <= 6; there && (err != nil || got.Index != i) || !there && !errors.Is(err, raft.ErrLogNotFound) {
				t.Errorf("%s: entry %d: %+v, %v", when, i, got, err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTheLogIsKeptForThoseWhoNeedIt: off the front goes what everyone has, what
// is wrong at the end always.
func TestTheLogIsKeptForThoseWhoNeedIt(t *testing.T) {
	needed := uint64(3)
	l, err := openLog(t.TempDir(), slog.New(slog.DiscardHandler), func() uint64 { return needed })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for i := range uint64(10) {
		if err := l.StoreLog(&raft.Log{Index: i + 1, Term: 1, Data: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ needed, first, last, leavesFirst, leavesLast uint64 }{
		{needed: 3, first: 1, last: 6, leavesFirst: 4, leavesLast: 10},
		{needed: 3, first: 4, last: 6, leavesFirst: 4, leavesLast: 10},
		{needed: math.MaxUint64, first: 4, last: 6, leavesFirst: 7, leavesLast: 10},
		{needed: 7, first: 9, last: 10, leavesFirst: 7, leavesLast: 8},
		{needed: 7, first: 7, last: 8, leavesFirst: 0, leavesLast: 0},
	} {
		needed = c.needed
		if err := l.DeleteRange(c.first, c.last); err != nil {
			t.Fatal(err)
		}
		first, err1 := l.FirstIndex()
		last, err2 := l.LastIndex()
		if err1 != nil || err2 != nil || first != c.leavesFirst || last != c.leavesLast {
			t.Errorf("%+v: it goes from %d to %d: %v, %v", c, first, last, err1, err2)
		}
	}
}
