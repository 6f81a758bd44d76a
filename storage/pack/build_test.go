package pack_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/pack"
)

func TestBuildRefuses(t *testing.T) {
	other := func(change func(*pack.Member)) []pack.Member {
		members := ctSeries(3, 1000, 100)
		change(&members[1])
		return members
	}
	metadata := func(text string) func(*pack.Member) {
		return func(m *pack.Member) {
			m.WriteMetadata = func(_ context.Context, w io.Writer) error {
				_, err := io.WriteString(w, text)
				return err
			}
		}
	}
	failure := errors.New("failed on purpose")
	for name, c := range map[string]struct {
		members []pack.Member
		want    error
	}{
		"no members":     {nil, storage.ErrInvalid},
		"another series": {other(func(m *pack.Member) { m.Key.SeriesInstanceUID = "1.2" }), storage.ErrInvalid},
		"another study":  {other(func(m *pack.Member) { m.Key.StudyInstanceUID = "1.2" }), storage.ErrInvalid},
		"no UID":         {other(func(m *pack.Member) { m.Key.SOPInstanceUID = "../1" }), storage.ErrInvalid},
		"negative size":  {other(func(m *pack.Member) { m.Size, m.Prefix = -1, -1 }), storage.ErrInvalid},
		"prefix":         {other(func(m *pack.Member) { m.Prefix = m.Size + 1 }), storage.ErrInvalid},
		"a long value":   {other(func(m *pack.Member) { m.Origin.ID = strings.Repeat("x", 1<<20) }), storage.ErrInvalid},
		"twice":          {append(ctSeries(3, 1000, 100), instance(2, 1000, 100)), storage.ErrInvalid},
		"no metadata":    {other(metadata("")), storage.ErrInvalid},
		"an array":       {other(metadata("[]")), storage.ErrInvalid},
		"failing metadata": {other(func(m *pack.Member) {
			m.WriteMetadata = func(context.Context, io.Writer) error { return failure }
		}), failure},
		"a fragment outside": {other(func(m *pack.Member) {
			m.Layout = &dicom.Layout{Frames: &dicom.Frames{Count: 1, Fragments: []storage.Range{{Offset: 900, Length: 1000}}, FirstFragment: []int{0}}}
		}), storage.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := pack.Build(t.Context(), pack.Options{SpoolDir: t.TempDir()}, c.members); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

func TestMetadataMayHaveNewlines(t *testing.T) {
	m := member(1, make([]byte, 10), "\n{\n \"00100010\":\n\n{}\n}\n\n")
	stored := read(t, build(t, pack.Options{}, []pack.Member{m}))
	err := directory(t, stored).Details(t.Context(), stored, 0, 1, func(_ int, _ *dicom.Layout, metadata io.Reader) error {
		got, err := io.ReadAll(metadata)
		if want := "{  \"00100010\": {} }"; string(got) != want {
			t.Errorf("%q, want %q", got, want)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestIDAndKey(t *testing.T) {
	members := ctSeries(5, 10, 50)
	generation := int64(0)
	id := func(conflict bool, members []pack.Member) string {
		return pack.ID(study, series, conflict, generation, func(yield func(string, storage.Digest) bool) {
			for _, m := range members {
				if !yield(m.Key.SOPInstanceUID, m.Digest) {
					return
				}
			}
		})
	}
	reversed := slices.Clone(members)
	slices.Reverse(reversed)
	changed := slices.Clone(members)
	changed[2].Digest[31]++
	want := id(false, members)
	if len(want) != 32 || want != id(false, reversed) {
		t.Errorf("ID %q depends on the order", want)
	}
	if want == id(false, changed) || want == id(false, members[1:]) || want == id(true, members) {
		t.Errorf("ID %q is that of other members", want)
	}
	if generation = 1; want == id(false, members) {
		t.Errorf("ID %q is that of another generation", want)
	}
	if key := pack.Key(study, series, want, false); key != "studies/"+study+"/"+series+"/"+want+".zip" {
		t.Error(key)
	}
	if key := pack.Key(study, series, want, true); key != "conflicts/"+study+"/"+series+"/"+want+".zip" {
		t.Error(key)
	}
}

// TestSpoolLeavesNothing: the file of a spool has no name even while in use.
func TestSpoolLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	p := build(t, pack.Options{SpoolDir: dir, SpoolMemory: 100}, ctSeries(20, 100, 20_000))
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(names) != 0 {
		t.Errorf("the spool has the names %q (%v)", names, err)
	}
	checkDirectory(t, read(t, p), ctSeries(20, 100, 20_000))
	if _, err := pack.Build(t.Context(), pack.Options{SpoolDir: filepath.Join(dir, "missing"), SpoolMemory: 1}, ctSeries(20, 100, 20_000)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a spool in a missing folder: %v", err)
	}
}
