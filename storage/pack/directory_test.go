package pack_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/pack"
)

// TestDirectoryReads counts the reads of an archive that answers slowly.
func TestDirectoryReads(t *testing.T) {
	for _, c := range []struct{ members, reads int }{{1, 1}, {500, 1}, {5000, 2}} {
		b := &counted{Blob: read(t, build(t, pack.Options{}, ctSeries(c.members, 50, 300)))}
		d := directory(t, b)
		if len(b.ranges) > c.reads {
			t.Errorf("the directory of %d instances took %d reads: %v", c.members, len(b.ranges), b.ranges)
		}
		b.ranges = nil
		i := c.members / 2
		err := d.Details(t.Context(), b, i, i+1, func(got int, _ *dicom.Layout, _ io.Reader) error {
			if got != i {
				t.Errorf("details of %d, asked for %d", got, i)
			}
			return nil
		})
		if err != nil || len(b.ranges) != 1 || b.ranges[0].Length > 100<<10 {
			t.Errorf("the details of one of %d took %v (%v)", c.members, b.ranges, err)
		}
	}
}

func TestDetails(t *testing.T) {
	members := ctSeries(60, 1000, 30_000)
	stored := read(t, build(t, pack.Options{}, members))
	d := directory(t, stored)
	for from := 0; from <= 60; from += 7 {
		for to := from; to <= 60; to += 11 {
			next := from
			err := d.Details(t.Context(), stored, from, to, func(i int, _ *dicom.Layout, metadata io.Reader) error {
				if i != next {
					t.Fatalf("[%d,%d): details of %d, want %d", from, to, i, next)
				}
				next++
				if i%3 == 0 { // it need not be read
					return nil
				}
				got, err := io.ReadAll(metadata)
				if string(got) != metadataOf(members[i]) {
					t.Fatalf("[%d,%d): other metadata of %d", from, to, i)
				}
				return err
			})
			if err != nil || next != to {
				t.Fatalf("[%d,%d): ended at %d: %v", from, to, next, err)
			}
		}
	}
	stop := errors.New("stop")
	if err := d.Details(t.Context(), stored, 0, 60, func(int, *dicom.Layout, io.Reader) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("%v, want fn's own error", err)
	}
	for _, r := range [][2]int{{-1, 1}, {0, 61}, {5, 4}} {
		if err := d.Details(t.Context(), stored, r[0], r[1], nil); !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("%v: %v, want storage.ErrInvalid", r, err)
		}
	}
}

func TestFind(t *testing.T) {
	d := directory(t, read(t, build(t, pack.Options{}, ctSeries(120, 10, 50))))
	for n := 1; n <= 120; n++ {
		sop := fmt.Sprintf("%s.%d", series, n)
		if i, ok := d.Find(sop); !ok || d.Entries[i].Key.SOPInstanceUID != sop || i != n-1 {
			t.Errorf("Find %s: %d, %t", sop, i, ok)
		}
	}
	for _, sop := range []string{"", "1", series, series + ".0", series + ".121", series + ".1.1"} {
		if i, ok := d.Find(sop); ok {
			t.Errorf("Find %q: %d", sop, i)
		}
	}
}

// TestConflicts packs instances that share their SOPInstanceUID.
func TestConflicts(t *testing.T) {
	members := []pack.Member{instance(7, 1000, 100), instance(8, 900, 100), instance(9, 800, 100), instance(10, 700, 100)}
	members[1].Key, members[2].Key = members[0].Key, members[0].Key
	p := build(t, pack.Options{Conflict: true}, members)
	stored := read(t, p)
	checkDirectory(t, stored, members)
	d := directory(t, stored)
	if i, ok := d.Find(members[0].Key.SOPInstanceUID); !ok || i != 0 || !d.Conflict {
		t.Errorf("Find: %d, %t; conflict %t", i, ok, d.Conflict)
	}
	if found := problems(t, stored); len(found) != 0 {
		t.Error(found)
	}
	names := map[string]bool{}
	for _, e := range pythonList(t, writeFile(t, stored)) {
		names[e.name] = true
	}
	if len(names) != len(members)+2 {
		t.Errorf("the entries' names are not unique: %v", names)
	}
}
