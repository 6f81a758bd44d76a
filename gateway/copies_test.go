package gateway_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/archive/archivetest"
	"github.com/esante-alsace/cigogne/storage/archive/dir"
	"github.com/esante-alsace/cigogne/storage/archive/set"
	"github.com/esante-alsace/cigogne/storage/index"
)

// away is an archive that does not answer while it is told so.
type away struct {
	archive.Archive
	gone bool
}

func (a *away) Put(ctx context.Context, key string, src archive.Source) (uint32, error) {
	if a.gone {
		return 0, storage.ErrUnavailable
	}
	return a.Archive.Put(ctx, key, src)
}

// TestCopies: a pack goes to the archives that answer, is brought to the other
// when that is back, and the index knows where it lies; a rebuild, too.
func TestCopies(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	first, second := openDir(t), &away{Archive: openDir(t), gone: true}
	each := []archive.Archive{first, second}
	all, err := set.New(each, set.Options{Copies: 1})
	if err != nil {
		t.Fatal(err)
	}
	n := open(t, t.TempDir(), all)
	study := tiny(1, 3)
	n.mustStore(study.Instances...)
	n.pass()
	if got := n.unreleased(); got != 0 {
		t.Errorf("the journal still holds %d entries with one copy of one", got)
	}
	n.expectCopies(first.String())

	repairer := gateway.NewRepairer(n.index, n.proposer, all, each, log)
	if err := repairer.Pass(t.Context()); err == nil {
		t.Error("a repair while an archive is away did not fail")
	}
	second.gone = false
	if err := repairer.Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.expectCopies(first.String(), second.String())
	n.expect(study.StudyInstanceUID, study.Instances...)

	fresh, err := index.Open(t.Context(), index.Options{Path: filepath.Join(t.TempDir(), "index.db"), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	if _, err := gateway.Rebuild(t.Context(), gateway.RebuildOptions{Index: fresh, Archives: each, Journal: n.journal}); err != nil {
		t.Fatal(err)
	}
	expectCopies(t, fresh, first.String(), second.String())
}

func openDir(t *testing.T) archive.Archive {
	t.Helper()
	a, err := dir.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

func (n *node) expectCopies(want ...string) {
	n.t.Helper()
	expectCopies(n.t, n.index, want...)
}

func expectCopies(t testing.TB, x *index.Index, want ...string) {
	t.Helper()
	packs, err := x.Packs(t.Context(), index.Selector{})
	if err != nil {
		t.Fatal(err)
	}
	if len(packs) != 1 || len(packs[0].Copies) != len(want) {
		t.Fatalf("packs %+v, want one with copies in %v", packs, want)
	}
	has := map[string]bool{}
	for _, c := range packs[0].Copies {
		has[c.Archive] = true
	}
	for _, w := range want {
		if !has[w] {
			t.Errorf("no copy in %s", w)
		}
	}
}

// TestAnotherUnderItsKey: after a rebuild, which reads one copy of a pack, what
// an archive has under its key is made the pattern of others only when it is
// what the index says; a sound pack of another series is replaced.
func TestAnotherUnderItsKey(t *testing.T) {
	for name, repair := range map[string]func(context.Context, *index.Index, *set.Set, []archive.Archive) error{
		"repairer": func(ctx context.Context, x *index.Index, all *set.Set, each []archive.Archive) error {
			return gateway.NewRepairer(x, &proposer{index: x}, all, each, slog.New(slog.DiscardHandler)).Pass(ctx)
		},
		"verifier": func(ctx context.Context, x *index.Index, all *set.Set, each []archive.Archive) error {
			_, err := gateway.NewVerifier(gateway.VerifierOptions{Index: x, Archives: each, Repair: all, Proposer: &proposer{index: x}}).All(ctx)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			other := open(t, t.TempDir(), openDir(t))
			other.mustStore(tiny(2, 5).Instances...)
			other.pass()
			wrong := content(t, other.archive, objects(t, other.archive, "studies/")[0])

			first, second, third := openDir(t), openDir(t), openDir(t)
			n := open(t, t.TempDir(), second)
			n.mustStore(tiny(1, 3).Instances...)
			n.pass()
			key := objects(t, second, "studies/")[0]
			right := content(t, second, key)
			if err := second.Remove(t.Context(), key); err != nil {
				t.Fatal(err)
			}
			// The other is the older one, so that it is the first of the copies.
			for _, put := range []struct {
				archive.Archive
				bytes []byte
			}{{second, wrong}, {first, right}} {
				if _, err := put.Put(t.Context(), key, archivetest.Bytes(put.bytes)); err != nil {
					t.Fatal(err)
				}
			}
			each := []archive.Archive{first, second, third}
			all, err := set.New(each, set.Options{Copies: 1})
			if err != nil {
				t.Fatal(err)
			}
			fresh, err := index.Open(t.Context(), index.Options{Path: filepath.Join(t.TempDir(), "index.db")})
			if err != nil {
				t.Fatal(err)
			}
			defer fresh.Close()
			if _, err := gateway.Rebuild(t.Context(), gateway.RebuildOptions{Index: fresh, Archives: each, Journal: n.journal}); err != nil {
				t.Fatal(err)
			}
			if err := repair(t.Context(), fresh, all, each); err != nil {
				t.Error(err)
			}
			for i, a := range each {
				if got := content(t, a, key); !bytes.Equal(got, right) {
					t.Errorf("archive %d has %d bytes, not the %d of the pack", i, len(got), len(right))
				}
			}
		})
	}
}

func content(t *testing.T, a archive.Archive, key string) []byte {
	t.Helper()
	st, err := a.Stat(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	r, err := a.Get(t.Context(), key, storage.Range{Length: st.Size})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestBroughtTooLate: a copy that was under way when its pack was deleted and
// removed does not stay.
func TestBroughtTooLate(t *testing.T) {
	first, second := openDir(t), &slow{Archive: openDir(t), putting: make(chan struct{}), resume: make(chan struct{})}
	k := keep(t, open(t, t.TempDir(), first), first, second)
	study := tiny(1, 2)
	k.mustStore(study.Instances...)
	k.pass()
	all, err := set.New(k.each, set.Options{Copies: 1})
	if err != nil {
		t.Fatal(err)
	}
	passed := make(chan error)
	go func() {
		passed <- gateway.NewRepairer(k.index, k.proposer, all, k.each, slog.New(slog.DiscardHandler)).Pass(context.WithoutCancel(t.Context()))
	}()
	<-second.putting
	d := k.delete(study.StudyInstanceUID)
	k.end()
	k.expectState(d.ID, index.DeletionRemoved)
	close(second.resume)
	if err := <-passed; err != nil {
		t.Fatal(err)
	}
	if got := objects(t, second, "studies/"); len(got) != 0 {
		t.Errorf("still there: %v", got)
	}
}
