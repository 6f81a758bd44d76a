package journal_test

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// earlyOptions have payloads written from two pages on while they come.
func earlyOptions(disk *memFS) journal.Options {
	o := memOptions(disk)
	o.SegmentBytes, o.InlineBytes, o.EarlyBytes = 64<<10, 30_000, 8<<10
	return o
}

// gapOf is the gap before the body of the entry at a position.
func gapOf(disk *memFS, at journal.Position) uint32 {
	b := disk.live[filepath.Join("j", fmt.Sprintf("%016x.segment", at.Segment))].live
	return binary.LittleEndian.Uint32(b[at.Offset+52:])
}

// TestEarly: whatever happens between a payload that was written while it came
// and its record, the entry is there, also when the power goes, and in a copy.
func TestEarly(t *testing.T) {
	type scene struct {
		disk *memFS
		j    *journal.Journal
		want map[journal.Position][]byte
	}
	another := func(t *testing.T, s *scene) {
		body := random(t, 20_000)
		s.want[put(t, s.j, "", "another", body).Position] = body
	}
	for name, c := range map[string]struct {
		size          int // 0: 20,000
		header        string
		before, after func(*testing.T, *scene)
		gap           bool // it stays where it was written
	}{
		"nothing":             {gap: true},
		"whole pages":         {size: 4 * 4096, gap: true},
		"too short":           {size: 8<<10 - 1},
		"larger than most":    {size: 30_001},
		"another comes first": {after: another},
		"another is given up": {after: func(t *testing.T, s *scene) {
			a := s.j.NewAppend(t.Context())
			if _, err := a.Write(random(t, 20_000)); err != nil {
				t.Fatal(err)
			}
			a.Abort()
			a.Abort()
		}, gap: true},
		"another was given up": {before: func(t *testing.T, s *scene) {
			a := s.j.NewAppend(t.Context())
			if _, err := a.Write(bytes.Repeat([]byte("other"), 5000)); err != nil {
				t.Fatal(err)
			}
			a.Abort()
		}, gap: true},
		"the segment ends": {before: another, after: func(t *testing.T, s *scene) {
			if err := s.j.Seal(t.Context()); err != nil {
				t.Fatal(err)
			}
		}},
		"a header longer than the last": {header: strings.Repeat("h", 20_000)},
		"a longer header that fits":     {before: another, header: strings.Repeat("h", 300), gap: true},
		"the last header was long": {before: func(t *testing.T, s *scene) {
			s.want[put(t, s.j, "", strings.Repeat("h", 32<<10), []byte("body")).Position] = []byte("body")
		}},
		"the disk is full while it comes": {before: func(_ *testing.T, s *scene) { s.disk.space = 10_000 },
			after: func(_ *testing.T, s *scene) { s.disk.space = -1 }},
		"the disk cannot begin to write": {before: func(_ *testing.T, s *scene) {
			s.disk.failStart = func(string) bool { return true }
		}},
		"the disk loses another": {after: func(t *testing.T, s *scene) {
			s.disk.failSync = func(string) bool { return true }
			if _, err := tryPut(t.Context(), s.j, "", "another", []byte("lost")); err == nil {
				t.Error("what the disk lost is acknowledged")
			}
			s.disk.failSync = nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			disk := newMemFS(1)
			s := &scene{disk: disk, j: open(t, earlyOptions(disk)), want: map[journal.Position][]byte{}}
			copied := newTwin(t, s.j.ID(), newMemFS(2))
			pump := func() {
				t.Helper()
				if err := copied.pump(t.Context(), s.j, rand.New(rand.NewPCG(1, 1))); err != nil {
					t.Fatal(err)
				}
				copied.same(t, s.j, disk)
			}
			if c.before != nil {
				c.before(t, s)
			}
			body := random(t, cmp.Or(c.size, 20_000))
			a := s.j.NewAppend(t.Context())
			if _, err := a.Write(body); err != nil {
				t.Fatal(err)
			}
			pump() // of what has no place nothing is given
			if c.after != nil {
				c.after(t, s)
			}
			p, err := a.Commit([]byte("prefix"), []byte(c.header), nil)
			if err != nil {
				t.Fatal(err)
			}
			e, err := p.Wait(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			s.want[e.Position] = append([]byte("prefix"), body...)
			if gap := gapOf(disk, e.Position); gap > 0 != c.gap {
				t.Errorf("the gap before it is %d", gap)
			}
			another(t, s)
			expectAll(t, s.j, s.want)
			pump()
			disk = disk.reboot()
			j := open(t, earlyOptions(disk))
			expectAll(t, j, s.want)
			newWorld().checkFiles(t, j, disk)
		})
	}
}

// TestEarlyIsNothing: what was written and has no record is cut when the
// journal is closed, when it is opened, and is no entry before.
func TestEarlyIsNothing(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *memFS, *journal.Journal, *journal.Append) *memFS{
		"given up": func(t *testing.T, disk *memFS, j *journal.Journal, a *journal.Append) *memFS {
			a.Abort()
			if err := j.Close(); err != nil {
				t.Error(err)
			}
			return disk
		},
		"closed": func(t *testing.T, disk *memFS, j *journal.Journal, a *journal.Append) *memFS {
			if err := j.Close(); err != nil {
				t.Error(err)
			}
			if _, err := a.Write(random(t, 9<<10)); err != nil {
				t.Error(err)
			}
			if _, err := a.Commit(nil, nil, nil); err == nil {
				t.Error("a closed journal took an entry")
			}
			return disk
		},
		"the power goes": func(_ *testing.T, disk *memFS, _ *journal.Journal, _ *journal.Append) *memFS {
			return disk.reboot()
		},
	} {
		t.Run(name, func(t *testing.T) {
			disk := newMemFS(3)
			j := open(t, earlyOptions(disk))
			body := []byte("body")
			want := map[journal.Position][]byte{put(t, j, "", "header", body).Position: body}
			a := j.NewAppend(t.Context())
			if _, err := a.Write(random(t, 20_000)); err != nil {
				t.Fatal(err)
			}
			if disk.early == 0 {
				t.Fatal("nothing was written")
			}
			expectAll(t, j, want)
			disk = end(t, disk, j, a)
			j = open(t, earlyOptions(disk))
			expectAll(t, j, want)
			newWorld().checkFiles(t, j, disk)
		})
	}
}

// TestEarlyLeavesOthersTheDisk: while an fsync is under way, or another payload
// comes, nothing is written that has no place.
func TestEarlyLeavesOthersTheDisk(t *testing.T) {
	disk := newMemFS(4)
	syncing, release := make(chan struct{}), make(chan struct{})
	j := open(t, earlyOptions(disk))
	disk.onSync = func(string) {
		syncing <- struct{}{}
		<-release
	}
	begin := func() *journal.Append {
		a := j.NewAppend(t.Context())
		if _, err := a.Write(random(t, 20_000)); err != nil {
			t.Fatal(err)
		}
		return a
	}
	a := j.NewAppend(t.Context())
	p, err := a.Commit(nil, []byte("header"), nil)
	if err != nil {
		t.Fatal(err)
	}
	<-syncing
	begin().Abort()
	if disk.early > 0 {
		t.Error("written while the disk was at work on another")
	}
	close(release)
	if _, err := p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := j.NewAppend(t.Context())
	begin().Abort()
	if disk.early > 0 {
		t.Error("written while another came")
	}
	b.Abort()
	if begin().Abort(); disk.early == 0 {
		t.Error("not written when nothing else came")
	}
}

// TestPowerLossWhileWritingEarly is TestPowerLossWhileManyAppend with payloads
// that are written while they come, by one sender or by one of several.
func TestPowerLossWhileWritingEarly(t *testing.T) {
	base := rand.Uint64()
	early := 0
	for i := range fewer(40) {
		seed := base + i
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 3))
			w := newWorld()
			w.options, w.longer = earlyOptions, 20
			early += w.lives(t, seed, 1+rnd.IntN(4), func(int) int { return 1 + rnd.IntN(250) })
		})
	}
	if early == 0 {
		t.Error("nothing was written early")
	}
}

// TestEarlyReadsBack reads what the operating system's files hold.
func TestEarlyReadsBack(t *testing.T) {
	o := journal.Options{Dir: t.TempDir()}
	j := open(t, o)
	want := map[journal.Position][]byte{}
	for _, size := range []int{256 << 10, 526_000, 300_001, 1 << 20, 100} {
		body := random(t, size)
		want[put(t, j, "", "header", body).Position] = body
	}
	expectAll(t, j, want)
	for at, body := range want {
		part := storage.Range{Offset: int64(len(body)) / 2, Length: int64(len(body)) / 3}
		if !bytes.Equal(get(t, j, at, part), body[part.Offset:part.End()]) {
			t.Errorf("a part of entry %s differs", at)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	expectAll(t, open(t, o), want)
}
