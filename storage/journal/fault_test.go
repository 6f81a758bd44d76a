package journal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/journal"
)

func openMem(t *testing.T, disk *memFS, change ...func(*journal.Options)) *journal.Journal {
	t.Helper()
	o := memOptions(disk)
	for _, c := range change {
		c(&o)
	}
	return open(t, o)
}

func expectAll(t *testing.T, j *journal.Journal, want map[journal.Position][]byte) {
	t.Helper()
	for at, body := range want {
		if got := get(t, j, at, storage.Range{Length: int64(len(body))}); !bytes.Equal(got, body) {
			t.Errorf("entry %s differs", at)
		}
	}
	if n := len(replay(t, j, journal.Position{})); n != len(want) {
		t.Errorf("%d entries, not the %d that were acknowledged", n, len(want))
	}
}

// TestFullDisk fills the disk at every byte of a record, inline and large.
func TestFullDisk(t *testing.T) {
	for _, size := range []int{300, 3000} {
		for space := int64(0); space < int64(size)+200; space += 7 {
			disk := newMemFS(1)
			j := openMem(t, disk)
			want := map[journal.Position][]byte{}
			fill := func() error {
				body := random(t, size)
				e, err := tryPut(t.Context(), j, "", "header", body)
				if err == nil {
					want[e.Position] = body
				}
				return err
			}
			if err := fill(); err != nil {
				t.Fatal(err)
			}
			disk.space = space
			var err error
			for err == nil {
				err = fill()
			}
			if !errors.Is(err, storage.ErrFull) {
				t.Fatalf("space %d: %v", space, err)
			}
			if err := j.Check(t.Context()); !errors.Is(err, storage.ErrFull) {
				t.Errorf("space %d: Check says %v", space, err)
			}
			expectAll(t, j, want)
			disk.space = 1 << 20
			if err := j.Check(t.Context()); err != nil {
				t.Errorf("space came back and Check says %v", err)
			}
			if err := fill(); err != nil {
				t.Fatalf("space came back: %v", err)
			}
			expectAll(t, j, want)
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			expectAll(t, openMem(t, disk.reboot()), want)
		}
	}
}

func TestMaxBytes(t *testing.T) {
	for _, size := range []int{300, 5000} {
		j := openMem(t, newMemFS(1), func(o *journal.Options) { o.MaxBytes = 200 << 10 })
		for {
			if _, err := tryPut(t.Context(), j, "", "h", random(t, size)); err != nil {
				if !errors.Is(err, storage.ErrFull) {
					t.Fatal(err)
				}
				break
			}
			if b := j.Stats().Bytes; b > 200<<10 {
				t.Fatalf("the journal takes %d bytes", b)
			}
		}
		if err := j.Check(t.Context()); !errors.Is(err, storage.ErrFull) {
			t.Errorf("Check says %v", err)
		}
		if err := j.Remove(t.Context(), j.Segments()[0].Number); err != nil {
			t.Fatal(err)
		}
		put(t, j, "", "h", random(t, size))
	}
}

// TestFullDiskReleasesByRemove: on a disk without a free byte a segment can
// still be removed, also the one with the highest number.
func TestFullDiskReleasesByRemove(t *testing.T) {
	disk := newMemFS(1)
	j := openMem(t, disk)
	first := put(t, j, "", "h", random(t, 700))
	disk.space = 0
	if err := j.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := j.Remove(t.Context(), first.Position.Segment); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	disk = disk.reboot()
	disk.space = -1
	j = openMem(t, disk)
	if e := put(t, j, "", "h", nil); e.Position.Segment <= first.Position.Segment {
		t.Errorf("position %s comes after %s", e.Position, first.Position)
	}
}

// TestFailedFsync: those who wait for it are told, nothing of theirs is
// there, what was durable stays, and the next entry goes to a new segment.
func TestFailedFsync(t *testing.T) {
	disk := newMemFS(1)
	var failing bool
	disk.failSync = func(name string) bool { return failing && strings.HasSuffix(name, ".segment") }
	j := openMem(t, disk)
	want := map[journal.Position][]byte{}
	for _, size := range []int{10, 5000} {
		body := random(t, size)
		want[put(t, j, "", "h", body).Position] = body
	}
	old := j.Segments()[0].Number
	disk.mu.Lock()
	failing = true
	disk.mu.Unlock()
	for _, size := range []int{10, 5000} {
		_, err := tryPut(t.Context(), j, "", "h", random(t, size))
		if !errors.Is(err, storage.ErrUnavailable) || !errors.Is(err, errDisk) {
			t.Fatalf("a failed fsync gave %v", err)
		}
	}
	if err := j.Check(t.Context()); err == nil {
		t.Error("Check finds nothing wrong with a disk that fails")
	}
	disk.mu.Lock()
	failing = false
	disk.mu.Unlock()
	expectAll(t, j, want)
	body := random(t, 20)
	e := put(t, j, "", "h", body)
	want[e.Position] = body
	if e.Position.Segment == old {
		t.Error("an entry went to a segment whose fsync had failed")
	}
	expectAll(t, j, want)
	if err := j.Check(t.Context()); err != nil {
		t.Error(err)
	}
	j.Close()
	disk = disk.reboot()
	j = openMem(t, disk)
	expectAll(t, j, want)
	if large, _ := disk.ReadDir("j/large"); len(large) != 1 {
		t.Errorf("%d large files, not 1", len(large))
	}
}

// damageOne makes a journal with three entries in one sealed segment and
// damages the middle one.
func damageOne(t *testing.T, size int, seal bool, offset int64) (*memFS, []journal.Entry) {
	disk := newMemFS(1)
	j := openMem(t, disk)
	var list []journal.Entry
	for range 3 {
		list = append(list, put(t, j, "", "header", random(t, size)))
	}
	if seal {
		if err := j.Seal(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	j.Close()
	at := list[1].Position
	disk.flip(fmt.Sprintf("j/%016x.segment", at.Segment), at.Offset+offset)
	return disk, list
}

func TestDamageInTheMiddleIsNotCut(t *testing.T) {
	for _, c := range []struct {
		name   string
		seal   bool
		offset int64
		opens  bool // a payload in a sealed segment is checked by Verify alone
	}{
		{"record header, last segment", false, 20, false},
		{"header, last segment", false, 66, false},
		{"payload, last segment", false, 100, false},
		{"record header, sealed segment", true, 20, false},
		{"header, sealed segment", true, 66, false},
		{"payload, sealed segment", true, 100, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			disk, list := damageOne(t, 300, c.seal, c.offset)
			if _, err := journal.Open(t.Context(), memOptions(disk)); !errors.Is(err, storage.ErrCorrupt) != c.opens {
				t.Fatalf("Open: %v", err)
			}
			clear(disk.locked)
			readOnly := openMem(t, disk, func(o *journal.Options) { o.ReadOnly = true })
			checkDamaged(t, readOnly, list)
			readOnly.Close()
			j := openMem(t, disk, func(o *journal.Options) { o.AllowDamage = true })
			checkDamaged(t, j, list)
			e := put(t, j, "", "h", []byte("after"))
			got := replay(t, j, list[1].Position)
			if n := len(got); n != 2 || got[0].Position != list[2].Position || got[1].Position != e.Position {
				t.Errorf("replay after the damage: %v", got)
			}
		})
	}
}

// checkDamaged expects that Verify reports the middle entry and no other.
func checkDamaged(t *testing.T, j *journal.Journal, list []journal.Entry) {
	t.Helper()
	var good, bad []journal.Position
	err := j.Verify(t.Context(), func(e journal.Entry, err error) error {
		if err == nil {
			good = append(good, e.Position)
			return nil
		}
		if !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("reported as %v", err)
		}
		bad = append(bad, e.Position)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(bad, []journal.Position{list[1].Position}) || !slices.Equal(good, []journal.Position{list[0].Position, list[2].Position}) {
		t.Errorf("good %v, bad %v", good, bad)
	}
}

func TestDamageThatOpenFinds(t *testing.T) {
	for name, harm := range map[string]func(*memFS, journal.Position){
		"segment header": func(m *memFS, at journal.Position) { m.flip(fmt.Sprintf("j/%016x.segment", at.Segment), 10) },
		"end missing": func(m *memFS, at journal.Position) {
			n := m.live[fmt.Sprintf("j/%016x.segment", at.Segment)]
			n.live = n.live[:at.Offset]
		},
		"large file missing": func(m *memFS, _ journal.Position) {
			for name := range m.live {
				if strings.HasPrefix(name, "j/large/") {
					delete(m.live, name)
				}
			}
		},
		"large file short": func(m *memFS, _ journal.Position) {
			for name, n := range m.live {
				if strings.HasPrefix(name, "j/large/") {
					n.live = n.live[:100]
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			disk := newMemFS(1)
			j := openMem(t, disk)
			put(t, j, "", "h", []byte("first"))
			e := put(t, j, "", "h", random(t, 5000))
			if err := j.Seal(t.Context()); err != nil {
				t.Fatal(err)
			}
			j.Close()
			harm(disk, e.Position)
			if _, err := journal.Open(t.Context(), memOptions(disk)); !errors.Is(err, storage.ErrCorrupt) {
				t.Fatalf("Open: %v", err)
			}
			clear(disk.locked)
			j = openMem(t, disk, func(o *journal.Options) { o.ReadOnly = true })
			bad := 0
			err := j.Verify(t.Context(), func(_ journal.Entry, err error) error {
				if err != nil {
					bad++
				}
				return nil
			})
			if err != nil || bad != 1 {
				t.Errorf("Verify reports %d (%v)", bad, err)
			}
		})
	}
}

func TestTornTailIsReportedByReadOnlyAndCutByOpen(t *testing.T) {
	disk := newMemFS(1)
	j := openMem(t, disk)
	body := random(t, 100)
	want := map[journal.Position][]byte{}
	e := put(t, j, "", "h", body)
	want[e.Position] = body
	j.Close()
	n := disk.live[fmt.Sprintf("j/%016x.segment", e.Position.Segment)]
	n.live = append(n.live, "half a record"...)
	for range 2 {
		j = openMem(t, disk, func(o *journal.Options) { o.ReadOnly = true })
		var reports []error
		if err := j.Verify(t.Context(), func(_ journal.Entry, err error) error {
			reports = append(reports, err)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if len(reports) != 2 || reports[0] != nil || !errors.Is(reports[1], journal.ErrTornTail) {
			t.Errorf("Verify reports %v", reports)
		}
		if _, err := tryPut(t.Context(), j, "", "h", nil); !errors.Is(err, storage.ErrUnsupported) {
			t.Errorf("appending to a journal that is read only: %v", err)
		}
		j.Close()
	}
	j = openMem(t, disk)
	expectAll(t, j, want)
}

func TestTwoProcesses(t *testing.T) {
	o := journal.Options{Dir: t.TempDir()}
	j := open(t, o)
	for _, readOnly := range []bool{false, true} {
		o.ReadOnly = readOnly
		if _, err := journal.Open(t.Context(), o); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("a second Open (ReadOnly %v): %v", readOnly, err)
		}
	}
	id := j.ID()
	j.Close()
	if got := open(t, o).ID(); got != id {
		t.Errorf("id was %s and is %s", id, got)
	}
}

func TestRemove(t *testing.T) {
	dir := t.TempDir()
	j := open(t, journal.Options{Dir: dir, InlineBytes: 1000})
	small, big := random(t, 900), random(t, 50_000)
	e1, e2 := put(t, j, "", "h", small), put(t, j, "pre", "h", big)
	number := e1.Position.Segment
	if err := j.Remove(t.Context(), number); !errors.Is(err, storage.ErrInvalid) {
		t.Fatalf("removing the active segment: %v", err)
	}
	if err := j.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	r1, err1 := j.Read(t.Context(), e1.Position, storage.Range{Length: e1.Size})
	r2, err2 := j.Read(t.Context(), e2.Position, storage.Range{Length: e2.Size})
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := j.Remove(t.Context(), number); err != nil {
			t.Fatal(err)
		}
	}
	var b1, b2 bytes.Buffer
	_, err1 = b1.ReadFrom(r1)
	_, err2 = b2.ReadFrom(r2)
	if err := errors.Join(err1, err2, r1.Close(), r2.Close()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b1.Bytes(), small) || b2.String() != "pre"+string(big) {
		t.Error("a reader that was open when its segment was removed got other bytes")
	}
	for _, e := range []journal.Entry{e1, e2} {
		if _, err := j.Read(t.Context(), e.Position, storage.Range{}); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("reading what was removed: %v", err)
		}
	}
	if files, err := os.ReadDir(filepath.Join(dir, "large")); err != nil || len(files) != 0 {
		t.Errorf("large files after Remove: %v, %v", files, err)
	}
	if n := len(j.Segments()); n != 1 {
		t.Errorf("%d segments", n)
	}
}

func TestAbortLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	j := open(t, journal.Options{Dir: dir, InlineBytes: 1000})
	for _, size := range []int{10, 100_000} {
		a := j.NewAppend(t.Context())
		if _, err := a.Write(random(t, size)); err != nil {
			t.Fatal(err)
		}
		a.Abort()
		a.Abort()
		if _, err := a.Commit(nil, nil, nil); err == nil {
			t.Error("Commit after Abort succeeds")
		}
	}
	a := j.NewAppend(t.Context())
	if _, err := a.Commit(make([]byte, journal.MaxHeaderBytes+1), nil, nil); !errors.Is(err, storage.ErrTooLarge) {
		t.Errorf("a prefix that is too long: %v", err)
	}
	if files, err := os.ReadDir(filepath.Join(dir, "large")); err != nil || len(files) != 0 {
		t.Errorf("large files: %v, %v", files, err)
	}
	if st := j.Stats(); st.Bytes != 64 || st.Pending != 0 {
		t.Errorf("stats: %+v", st)
	}
}

// TestDurableComesInOrderBeforeWait also holds Durable back, which must hold
// back everyone who waits, and no more than MaxPending of them.
func TestDurableComesInOrderBeforeWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newMemFS(1)
		gate := make(chan struct{})
		var seen []journal.Position // from Durable's one goroutine
		told := sync.Map{}
		j := openMem(t, disk, func(o *journal.Options) {
			o.MaxPending = 5
			o.Durable = func(list []journal.Entry) {
				<-gate
				for _, e := range list {
					seen = append(seen, e.Position)
					told.Store(e.Position, e.Value)
				}
			}
		})
		var acked sync.WaitGroup
		for i := range 40 {
			acked.Go(func() {
				name := fmt.Sprint(i)
				e, err := tryPut(t.Context(), j, "", name, []byte(name))
				if err != nil {
					t.Error(err)
					return
				}
				if v, ok := told.Load(e.Position); !ok || v != name {
					t.Errorf("Wait returned before Durable was told of %s (%v)", e.Position, v)
				}
			})
		}
		synctest.Wait()
		if n := j.Stats().Pending; n != 5 {
			t.Errorf("%d entries are pending, not MaxPending", n)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if _, err := tryPut(ctx, j, "", "late", nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a Commit past MaxPending gave %v", err)
		}
		cancel()
		close(gate)
		acked.Wait()
		j.Close()
		if len(seen) != 40 || !slices.IsSortedFunc(seen, journal.Position.Compare) {
			t.Errorf("Durable was told of %v", seen)
		}
	})
}

func TestClose(t *testing.T) {
	disk := newMemFS(1)
	j := openMem(t, disk)
	late := j.NewAppend(t.Context())
	a := j.NewAppend(t.Context())
	if _, err := a.Write([]byte("body")); err != nil {
		t.Fatal(err)
	}
	p, err := a.Commit(nil, []byte("h"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Wait(t.Context()); err != nil {
		t.Errorf("an entry committed before Close: %v", err)
	}
	_, err = late.Commit(nil, nil, nil)
	for name, err := range map[string]error{
		"Commit": err, "Seal": j.Seal(t.Context()), "Remove": j.Remove(t.Context(), 1), "Check": j.Check(t.Context()),
	} {
		if !errors.Is(err, journal.ErrClosed) || !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
	if n := len(replay(t, openMem(t, disk.reboot()), journal.Position{})); n != 1 {
		t.Errorf("%d entries", n)
	}
}
