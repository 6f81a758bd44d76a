package gateway_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/archive/set"
	"github.com/esante-alsace/cigogne/storage/index"
)

// kept is a node whose packs lie in folders.
type kept struct {
	*node
	folders []archive.Archive
	all     gateway.Copier
	state   string
	now     time.Time
}

// archivedIn archives studies of one series each in so many folders.
func archivedIn(t *testing.T, folders, studies int) *kept {
	t.Helper()
	k := &kept{state: filepath.Join(t.TempDir(), "scrub.json"), now: time.Unix(1_800_000_000, 0)}
	for range folders {
		k.folders = append(k.folders, openDir(t))
	}
	in := k.folders[0]
	if folders > 1 {
		all, err := set.New(k.folders, set.Options{})
		if err != nil {
			t.Fatal(err)
		}
		k.all, in = all, all
	}
	k.node = open(t, t.TempDir(), in)
	for i := range studies {
		k.mustStore(tiny(uint64(i+1), 2).Instances...)
		k.pass()
	}
	return k
}

func (k *kept) scrubber() *gateway.Scrubber {
	return gateway.NewScrubber(gateway.ScrubberOptions{
		Index: k.index, Proposer: k.proposer, Archives: k.folders, Repair: k.all, Every: time.Hour, State: k.state,
		Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return k.now },
	})
}

// round has a scrubber finish the round, or begin and finish one.
func round(t *testing.T, s *gateway.Scrubber) gateway.ScrubState {
	t.Helper()
	for range 100 {
		if _, err := s.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
		if state, _ := s.State(); state.Over {
			return state
		}
	}
	t.Fatal("the round does not end")
	return gateway.ScrubState{}
}

func (k *kept) copyOf(at, i int) string {
	k.t.Helper()
	packs, _, err := k.index.PacksAfter(k.t.Context(), 0, 100)
	if err != nil {
		k.t.Fatal(err)
	}
	folder := strings.TrimPrefix(k.folders[at].String(), "dir://")
	return filepath.Join(folder, filepath.FromSlash(packs[i].Copies[0].Key))
}

// damage changes a byte of a file.
func damage(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/3] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestScrub: what is lost or damaged is found and brought back from the other
// archive, a round follows the other in time, and a restart goes on.
func TestScrub(t *testing.T) {
	k := archivedIn(t, 2, 20)
	damage(t, k.copyOf(0, 3))
	if err := os.Remove(k.copyOf(1, 19)); err != nil {
		t.Fatal(err)
	}
	s := k.scrubber()
	if _, err := s.Step(t.Context()); err != nil { // 16 packs
		t.Fatal(err)
	}
	before, _ := s.State()
	if before.Over || before.Packs != 16 || before.Damaged != 1 || before.Repaired != 1 {
		t.Errorf("after one step: %+v", before)
	}
	s = k.scrubber() // a restart
	state := round(t, s)
	if state.Packs != 20 || state.Damaged != 1 || state.Lost != 1 || state.Repaired != 2 || len(state.Unrepaired) != 0 {
		t.Errorf("after the round: %+v", state)
	}
	if _, totals := s.State(); totals.Packs != 4 {
		t.Errorf("the second process verified %d packs, want 4", totals.Packs)
	}
	if wait, err := s.Step(t.Context()); err != nil || wait <= 0 {
		t.Errorf("a round is over, and the next begins at once: %v, %v", wait, err)
	}
	k.now = k.now.Add(time.Hour)
	if state := round(t, k.scrubber()); state.Packs != 20 || state.Damaged+state.Lost != 0 {
		t.Errorf("the next round: %+v", state)
	}
}

// TestScrubAlone: with one archive damage is told and left, and told again.
func TestScrubAlone(t *testing.T) {
	k := archivedIn(t, 1, 2)
	damage(t, k.copyOf(0, 1))
	for range 2 {
		state := round(t, k.scrubber())
		if state.Damaged != 1 || state.Repaired != 0 || len(state.Unrepaired) != 1 {
			t.Errorf("%+v", state)
		}
		k.now = k.now.Add(time.Hour)
	}
}

// TestScrubLearns: a rebuild enters packs without their checksum, and the
// first round brings it.
func TestScrubLearns(t *testing.T) {
	k := archivedIn(t, 2, 1)
	fresh, err := index.Open(t.Context(), index.Options{Path: filepath.Join(t.TempDir(), "index.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	if _, err := gateway.Rebuild(t.Context(), gateway.RebuildOptions{Index: fresh, Archives: k.folders, Journal: k.journal}); err != nil {
		t.Fatal(err)
	}
	want := k.checksums(k.index)
	k.index, k.proposer.index = fresh, fresh
	for _, sum := range k.checksums(fresh) {
		if sum != 0 {
			t.Errorf("after a rebuild: %08x", sum)
		}
	}
	round(t, k.scrubber())
	got := k.checksums(fresh)
	for name, sum := range want {
		if got[name] != sum {
			t.Errorf("%s: %08x, want %08x", name, got[name], sum)
		}
	}
}

func (k *kept) checksums(x *index.Index) map[string]uint32 {
	k.t.Helper()
	packs, _, err := x.PacksAfter(k.t.Context(), 0, 100)
	if err != nil {
		k.t.Fatal(err)
	}
	sums := map[string]uint32{}
	for _, p := range packs {
		for _, c := range p.Copies {
			sums[c.Archive+c.Key] = c.CRC32C
		}
	}
	return sums
}

// TestVerifyAway: an archive that does not answer is told once, and keeps no
// copy elsewhere from being verified.
func TestVerifyAway(t *testing.T) {
	k := archivedIn(t, 2, 3)
	damage(t, k.copyOf(0, 2))
	gone := unreachable{k.folders[1]}
	var found []gateway.Finding
	v := gateway.NewVerifier(gateway.VerifierOptions{
		Index: k.index, Archives: []archive.Archive{k.folders[0], gone}, Instances: true,
		Finding: func(f gateway.Finding) { found = append(found, f) },
	})
	done, err := v.All(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	faults := map[gateway.Fault]int{}
	for _, f := range found {
		faults[f.Fault]++
	}
	if done.Packs != 3 || faults[gateway.Unreachable] != 1 || faults[gateway.Damaged] != 1 || len(found) != 2 {
		t.Errorf("%+v: %v", done, found)
	}
}

// TestVerifyRemoved: a pack that is removed while it is verified is no finding,
// and what a repair brought back of it is removed again.
func TestVerifyRemoved(t *testing.T) {
	k := archivedIn(t, 2, 1)
	packs, _, err := k.index.PacksAfter(t.Context(), 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.folders[1].Remove(t.Context(), packs[0].Copies[0].Key); err != nil {
		t.Fatal(err)
	}
	empty, err := index.Open(t.Context(), index.Options{Path: filepath.Join(t.TempDir(), "index.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer empty.Close()
	v := gateway.NewVerifier(gateway.VerifierOptions{Index: empty, Archives: k.folders, Repair: k.all})
	if found, err := v.Pack(t.Context(), packs[0]); err != nil || len(found) != 0 {
		t.Errorf("%v, %v", found, err)
	}
	if _, err := k.folders[1].Stat(t.Context(), packs[0].Copies[0].Key); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("what was removed was brought back: %v", err)
	}
}

// unreachable is an archive that answers nothing.
type unreachable struct{ archive.Archive }

func (unreachable) Stat(context.Context, string) (archive.Stat, error) {
	return archive.Stat{}, storage.ErrUnavailable
}

func (unreachable) Check(context.Context) error { return storage.ErrUnavailable }
