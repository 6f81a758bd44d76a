package pack_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/pack"
)

// checkDirectory compares a stored pack with the members it was built from.
func checkDirectory(t *testing.T, stored blob, members []pack.Member) {
	t.Helper()
	d := directory(t, stored)
	sorted := slices.SortedFunc(slices.Values(members), func(a, b pack.Member) int { return pack.Compare(a.Instance, b.Instance) })
	if len(d.Entries) != len(sorted) || d.Instances != len(sorted) {
		t.Fatalf("%d entries, want %d", len(d.Entries), len(sorted))
	}
	seen := 0
	err := d.Details(t.Context(), stored, 0, len(sorted), func(i int, layout *dicom.Layout, metadata io.Reader) error {
		m, e := sorted[i], d.Entries[i]
		seen++
		if e.Instance != m.Instance {
			t.Fatalf("entry %d: %+v, want %+v", i, e.Instance, m.Instance)
		}
		want, err := readRange(memberBlob{m}, storage.Range{Length: m.Size})
		if err != nil || !bytes.Equal(readEntry(t, d, stored, i, storage.Range{Length: e.Size}), want) {
			t.Fatalf("entry %d: other bytes than its member's (%v)", i, err)
		}
		got, err := io.ReadAll(metadata)
		if err != nil || string(got) != metadataOf(m) {
			t.Fatalf("entry %d: metadata %.100q (%v)", i, got, err)
		}
		if !reflect.DeepEqual(layout, m.Layout) {
			t.Fatalf("entry %d: layout %+v, want %+v", i, layout, m.Layout)
		}
		return nil
	})
	if err != nil || seen != len(sorted) {
		t.Fatalf("Details: %d of %d, %v", seen, len(sorted), err)
	}
	err = d.Metadata(t.Context(), stored, 0, len(sorted), func(i int, metadata io.Reader) error {
		seen--
		got, err := io.ReadAll(metadata)
		if err != nil || string(got) != metadataOf(sorted[i]) {
			t.Fatalf("entry %d: metadata %.100q (%v)", i, got, err)
		}
		return nil
	})
	if err != nil || seen != 0 {
		t.Fatalf("Metadata: %d more, %v", seen, err)
	}
}

type memberBlob struct{ pack.Member }

func (m memberBlob) Size() int64 { return m.Instance.Size }
func (m memberBlob) Open(ctx context.Context, r storage.Range) (io.ReadCloser, error) {
	return m.Member.Open(ctx, r)
}

func TestRoundTrip(t *testing.T) {
	for _, c := range []struct{ members, size, jsonSize int }{
		{1, 0, 0}, {1, 5000, 3000}, {2, 400, 200}, {100, 3000, 10_000}, {3, 50_000, 2 << 20},
	} {
		for _, memory := range []int{0, 1} {
			t.Run(fmt.Sprintf("%+v spool %d", c, memory), func(t *testing.T) {
				members := ctSeries(c.members, c.size, c.jsonSize)
				p := build(t, pack.Options{SpoolDir: t.TempDir(), SpoolMemory: memory}, members)
				stored := read(t, p)
				if int64(len(stored)) != p.Size() {
					t.Fatalf("%d bytes, Size says %d", len(stored), p.Size())
				}
				checkDirectory(t, stored, members)
				if !p.Matches(directory(t, stored)) {
					t.Error("the pack does not match itself")
				}
			})
		}
	}
}

// TestSenderIsKept: whose patients they are does not lie in the Data Sets.
func TestSenderIsKept(t *testing.T) {
	members := ctSeries(4, 400, 200)
	for i := range members[:3] {
		members[i].Origin.Sender = storage.NewSender(storage.SenderInfo{
			Name: "Hôpital de Hautepierre", FINESS: "670000025", IssuerStands: i == 1,
			Issuer: storage.Issuer{Name: "HUS", UniversalID: "1.2.250.1.999.1", UniversalIDType: "ISO"},
		})
	}
	checkDirectory(t, read(t, build(t, pack.Options{}, members)), members)
}

func TestSameMembersSameBytes(t *testing.T) {
	members := ctSeries(60, 2000, 10_000)
	first := read(t, build(t, pack.Options{}, members))
	shuffled := slices.Clone(members)
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	for i := range shuffled { // and metadata that is written in other pieces
		text := metadataOf(shuffled[i])
		shuffled[i].WriteMetadata = func(_ context.Context, w io.Writer) error {
			for at := 0; at < len(text); {
				n := min(len(text)-at, 1+at%777)
				if _, err := io.WriteString(w, text[at:at+n]); err != nil {
					return err
				}
				at += n
			}
			return nil
		}
	}
	if second := read(t, build(t, pack.Options{SpoolMemory: 1}, shuffled)); !bytes.Equal(first, second) {
		t.Error("the same members in another order gave other bytes")
	}
}

func TestRanges(t *testing.T) {
	p := build(t, pack.Options{}, ctSeries(5, 1000, 500))
	stored := read(t, p)
	rng := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		from := rng.Int64N(p.Size() + 1)
		r := storage.Range{Offset: from, Length: rng.Int64N(p.Size() - from + 1)}
		got, err := readRange(p, r)
		if err != nil || !bytes.Equal(got, stored[r.Offset:r.End()]) {
			t.Fatalf("%+v: other bytes (%v)", r, err)
		}
	}
	for _, r := range []storage.Range{{Offset: -1}, {Length: -1}, {Length: p.Size() + 1}, {Offset: p.Size() + 1}, {Offset: 1, Length: 1<<63 - 1}} {
		if _, err := p.Open(t.Context(), r); !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("%+v: %v, want storage.ErrInvalid", r, err)
		}
	}
}
