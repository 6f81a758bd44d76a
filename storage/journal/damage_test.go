package journal_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/journal"
)

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

// TestDamageIsNoTornTail: where a segment ends is known although the one after
// it, which told it, was removed: what is damaged in it is not cut.
func TestDamageIsNoTornTail(t *testing.T) {
	disk := newMemFS(1)
	j := openMem(t, disk)
	var last journal.Entry
	for range 2 {
		last = put(t, j, "", "h", random(t, 300))
		if err := j.Seal(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Remove(t.Context(), last.Position.Segment); err != nil {
		t.Fatal(err)
	}
	first := j.Segments()[0]
	j.Close()
	name := fmt.Sprintf("j/%016x.segment", first.Number)
	disk.flip(name, first.First.Offset+100)
	for range 2 {
		j = openMem(t, disk)
		if got := replay(t, j, journal.Position{}); len(got) != 1 {
			t.Fatalf("%d entries, not the one that was acknowledged", len(got))
		}
		j.Close()
	}
	j = openMem(t, disk)
	if err := j.Remove(t.Context(), first.Number); err != nil {
		t.Fatal(err)
	}
	files, err := disk.ReadDir("j")
	if err != nil {
		t.Fatal(err)
	}
	for f := range files {
		if strings.HasSuffix(f, ".end") {
			t.Errorf("%s is left over", f)
		}
	}
}

// TestRottenPayload: what rotted below an open journal is not read, neither
// all of it nor a part that is sound itself, though it was read a moment ago.
func TestRottenPayload(t *testing.T) {
	for name, c := range map[string]struct {
		size   int
		offset int64 // behind where its record begins
	}{
		"in a segment":    {300, 200},
		"in its record":   {300, 40},
		"in its header":   {300, 64},
		"in a large file": {5000, 0},
	} {
		t.Run(name, func(t *testing.T) {
			disk := newMemFS(1)
			j := openMem(t, disk)
			body := random(t, c.size)
			e := put(t, j, "", "h", body)
			expectAll(t, j, map[journal.Position][]byte{e.Position: body})
			file, at := fmt.Sprintf("j/%016x.segment", e.Position.Segment), e.Position.Offset+c.offset
			for large := range disk.live {
				if strings.HasPrefix(large, "j/large/") {
					file, at = large, 200
				}
			}
			disk.flip(file, at)
			for _, part := range []storage.Range{{Length: e.Size}, {Offset: e.Size - 10, Length: 10}} {
				r, err := j.Read(t.Context(), e.Position, part)
				if !errors.Is(err, storage.ErrCorrupt) {
					t.Errorf("%+v: %v, %v", part, r, err)
				}
			}
		})
	}
}
