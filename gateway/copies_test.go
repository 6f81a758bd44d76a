package gateway_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
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
