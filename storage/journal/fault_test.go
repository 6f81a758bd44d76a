package journal_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

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

// TestFailedWriteback: what the disk lost while more of it came is not
// acknowledged, although the fsync at the end knows of no failure.
func TestFailedWriteback(t *testing.T) {
	disk := newMemFS(1)
	j := openMem(t, disk)
	disk.failWriteback = func(string) bool { return true }
	body := random(t, 9<<20) // writing back begins after 8 MiB
	if _, err := tryPut(t.Context(), j, "", "h", body); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("what the disk lost is acknowledged: %v", err)
	}
	expectAll(t, j, nil)
	disk.failWriteback = nil
	e, err := tryPut(t.Context(), j, "", "h", body)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	expectAll(t, openMem(t, disk.reboot()), map[journal.Position][]byte{e.Position: body})
}
