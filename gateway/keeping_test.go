package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/dmp/ins"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/index"
)

// keeping is a node with what deletes and what keeps from deleting; its
// sweeper is called by hand, its clock set by hand.
type keeping struct {
	*node
	each      []archive.Archive
	custodian *gateway.Custodian
	sweeper   *gateway.Sweeper
	at        time.Time
	clock     error // why it is not believed
	forgotten map[string]bool
}

const grace = 24 * time.Hour

func keep(t *testing.T, n *node, each ...archive.Archive) *keeping {
	t.Helper()
	k := &keeping{node: n, each: each, at: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), forgotten: map[string]bool{}}
	k.wire()
	if _, err := k.custodian.Retain(t.Context(), new(int), gateway.Request{}); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *keeping) wire() {
	log, now := slog.New(slog.DiscardHandler), func() time.Time { return k.at }
	check := func(context.Context) error { return k.clock }
	k.sweeper = gateway.NewSweeper(gateway.SweeperOptions{
		Index: k.index, Proposer: k.proposer, Archives: k.each, Confirm: time.Hour, Logger: log, Now: now, CheckClock: check,
		Forget: func(keys ...string) {
			for _, key := range keys {
				k.forgotten[key] = true
			}
		},
	})
	k.custodian = gateway.NewCustodian(gateway.CustodianOptions{
		Index: k.index, Proposer: k.proposer, Indexer: k.indexer, Sweeper: k.sweeper, Grace: grace, Logger: log, Now: now, CheckClock: check,
	})
}

// restart closes the node and opens it as after a crash.
func (k *keeping) restart() {
	k.node = k.again()
	k.wire()
}

func (k *keeping) delete(study string) gateway.Deleted {
	k.t.Helper()
	d, err := k.custodian.Delete(k.t.Context(), gateway.Request{StudyInstanceUID: study, By: "odile", Why: "sent twice"})
	if err != nil {
		k.t.Fatal(err)
	}
	return d
}

func (k *keeping) undo(id string) {
	k.t.Helper()
	if _, err := k.custodian.Undo(k.t.Context(), id, "odile", "a mistake"); err != nil {
		k.t.Fatal(err)
	}
}

func (k *keeping) sweep() {
	k.t.Helper()
	if err := errors.Join(k.sweeper.Forget(k.t.Context()), k.sweeper.Pass(k.t.Context())); err != nil {
		k.t.Fatal(err)
	}
}

// end lets time pass until everything that was deleted is removed.
func (k *keeping) end() {
	k.t.Helper()
	k.at = k.at.Add(grace)
	k.sweep()
	k.at = k.at.Add(time.Hour)
	k.sweep()
}

func (k *keeping) expectNothing(study string) {
	k.t.Helper()
	if found, err := k.reader.Instances(k.t.Context(), gateway.Selector{StudyInstanceUID: study}); !errors.Is(err, storage.ErrNotFound) {
		k.t.Errorf("%d instances of study %s are there (%v)", len(found), study, err)
	}
	for _, err := range k.finder.Search(k.t.Context(), index.Query{Level: index.Study, StudyInstanceUID: study}) {
		k.t.Errorf("study %s is found (%v)", study, err)
	}
}

func (k *keeping) expectState(id string, want index.DeletionState) gateway.DeletionStatus {
	k.t.Helper()
	s, err := k.custodian.Deletion(k.t.Context(), id)
	if err != nil || s.State != want {
		k.t.Fatalf("deletion %s is %v, want %v (%v)", id, s.State, want, err)
	}
	return s
}

// objects are the keys in an archive that begin with the prefix.
func objects(t testing.TB, a archive.Archive, prefix string) (keys []string) {
	t.Helper()
	for st, err := range a.List(t.Context(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, st.Key)
	}
	return keys
}

// rebuilt is the node over an index that was made anew.
func (k *keeping) rebuilt() *keeping {
	k.t.Helper()
	if err := k.indexer.Await(k.t.Context()); err != nil {
		k.t.Fatal(err)
	}
	path := filepath.Join(k.t.TempDir(), "index.db")
	fresh, err := index.Open(k.t.Context(), index.Options{Path: path})
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { fresh.Close() })
	_, err = gateway.Rebuild(k.t.Context(), gateway.RebuildOptions{
		Index: fresh, Archives: k.each, Journal: k.journal, Problem: func(what string) { k.t.Errorf("rebuild: %s", what) },
	})
	if err != nil {
		k.t.Fatal(err)
	}
	for problem, err := range fresh.Check(k.t.Context()) {
		k.t.Errorf("rebuilt index: %s %v", problem, err)
	}
	n := *k.node
	n.index, n.proposer = fresh, &proposer{index: fresh}
	n.reader = gateway.NewRetriever(gateway.RetrieverOptions{Index: fresh, Indexer: n.indexer, Journal: n.journal, Archive: n.archive})
	n.finder = gateway.NewSearcher(fresh, n.indexer, n.reader, ins.Production)
	other := &keeping{node: &n, each: k.each, at: k.at, forgotten: map[string]bool{}}
	other.wire()
	return other
}

// checked fails the test when the stores do not fit each other.
func (k *keeping) checked() {
	k.t.Helper()
	_, err := gateway.Check(k.t.Context(), gateway.CheckOptions{
		Index: k.index, Archives: k.each, Journal: k.journal, Problem: func(what string) { k.t.Errorf("fsck: %s", what) },
	})
	if err != nil {
		k.t.Fatal(err)
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
