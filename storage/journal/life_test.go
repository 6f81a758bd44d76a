package journal_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/journal"
)

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
				name := strconv.Itoa(i)
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

// TestMemory: a payload costs InlineBytes however long it is, and a tiny one
// costs little.
func TestMemory(t *testing.T) {
	j := open(t, journal.Options{})
	part := random(t, 32<<10)
	for _, c := range []struct{ parts, most int }{{1, 96 << 10}, {2000, 2 << 20}} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		a := j.NewAppend(t.Context())
		for range c.parts {
			if _, err := a.Write(part); err != nil {
				t.Fatal(err)
			}
		}
		p, err := a.Commit(nil, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > uint64(c.most) {
			t.Errorf("a payload of %d bytes allocated %d bytes, more than %d", c.parts*len(part), n, c.most)
		}
	}
}

// fileTaker notes what io.Copy hands to a connection.
type fileTaker struct {
	bytes.Buffer
	source io.Reader
}

func (w *fileTaker) ReadFrom(r io.Reader) (int64, error) {
	w.source = r
	return w.Buffer.ReadFrom(r)
}

// TestKernelCanSend: a connection sees the file itself, for sendfile.
func TestKernelCanSend(t *testing.T) {
	j := open(t, journal.Options{InlineBytes: 1000})
	for _, size := range []int{900, 5000} {
		e := put(t, j, "prefix", "h", random(t, size))
		r, err := j.Read(t.Context(), e.Position, storage.Range{Length: e.Size})
		if err != nil {
			t.Fatal(err)
		}
		var w fileTaker
		if n, err := io.Copy(&w, r); err != nil || n != e.Size {
			t.Errorf("copied %d of %d: %v", n, e.Size, err)
		}
		r.Close()
		limited, ok := w.source.(*io.LimitedReader)
		if !ok {
			t.Fatalf("the connection was given a %T", w.source)
		}
		if _, ok := limited.R.(*os.File); !ok {
			t.Errorf("the connection was given a %T", limited.R)
		}
	}
}
