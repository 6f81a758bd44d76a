package consensus

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
)

// faulty is an index that fails as it is told.
type faulty struct {
	*index.Index
	mu    sync.Mutex
	fails []error // of the next calls of ApplyAt
}

func (f *faulty) ApplyAt(ctx context.Context, at uint64, b index.Batch) (index.Applied, error) {
	f.mu.Lock()
	var err error
	if len(f.fails) > 0 {
		err, f.fails = f.fails[0], f.fails[1:]
	}
	f.mu.Unlock()
	if err != nil {
		return index.Applied{}, err
	}
	return f.Index.ApplyAt(ctx, at, b)
}

func openFaulty(t *testing.T) *faulty {
	t.Helper()
	x, err := index.Open(t.Context(), index.Options{Path: filepath.Join(t.TempDir(), "index.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	if err := x.Follow(t.Context(), "region"); err != nil {
		t.Fatal(err)
	}
	return &faulty{Index: x}
}

func entryOf(t *testing.T, n int) []byte {
	t.Helper()
	e, err := encodeEntry(index.Batch{Received: indextest.Population{Seed: 1, MaxInstances: 1}.Study(n)})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func studies(t *testing.T, x *index.Index) int64 {
	t.Helper()
	c, err := x.Counts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c.Studies
}

func TestEntriesAreAppliedOnceAndInTheEnd(t *testing.T) {
	x := openFaulty(t)
	m := newMachine(x, slog.New(slog.DiscardHandler))
	invalid := append([]byte{}, entryOf(t, 9)...)
	for _, c := range []struct {
		name    string
		at      uint64
		entry   []byte
		fails   []error
		skipped bool
		err     error
		studies int64
	}{
		{"the first", 3, entryOf(t, 0), nil, false, nil, 1},
		{"again", 3, entryOf(t, 1), nil, true, nil, 1},
		{"an earlier one", 2, entryOf(t, 1), nil, true, nil, 1},
		{"a disk that is full, then not", 4, entryOf(t, 1), []error{storage.ErrFull, storage.ErrFull}, false, nil, 2},
		{"a disk that fails, then not", 5, entryOf(t, 2), []error{storage.ErrUnavailable}, false, nil, 3},
		{"one that can never be applied", 6, invalid, []error{storage.ErrInvalid}, false, storage.ErrInvalid, 3},
		{"the one after it", 7, entryOf(t, 3), nil, false, nil, 4},
	} {
		x.fails = c.fails
		a, err := m.apply(t.Context(), c.at, c.entry)
		if a.Skipped != c.skipped || !errors.Is(err, c.err) || m.unsound() != nil {
			t.Errorf("%s: %+v, %v, %v", c.name, a, err, m.unsound())
		}
		if n := studies(t, x.Index); n != c.studies {
			t.Errorf("%s: %d studies", c.name, n)
		}
		if err := m.await(t.Context(), c.at); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// An entry of a newer version stops the node: it says so, and neither skips
// the entry nor makes a snapshot that claims to have it.
func TestAnEntryThatIsNotUnderstood(t *testing.T) {
	for name, entry := range map[string][]byte{
		"another kind":            {99, 1, 2},
		"a batch of version 1":    append([]byte{kindBatch, 1}, entryOf(t, 0)[2:]...),
		"a batch of version 3":    append([]byte{kindBatch, 3}, entryOf(t, 0)[2:]...),
		"nothing":                 {},
		"a batch that is cut off": entryOf(t, 0)[:20],
	} {
		t.Run(name, func(t *testing.T) {
			x := openFaulty(t)
			m := newMachine(x, slog.New(slog.DiscardHandler))
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				_, err := m.apply(ctx, 1, entry)
				done <- err
			}()
			if err := m.await(t.Context(), 1); !errors.Is(err, storage.ErrUnsupported) {
				t.Errorf("%v", err)
			}
			if _, err := (fsm{m, ctx}).Snapshot(); !errors.Is(err, storage.ErrUnsupported) {
				t.Errorf("a snapshot: %v", err)
			}
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
			if _, err := (fsm{m, ctx}).Snapshot(); !errors.Is(err, context.Canceled) {
				t.Errorf("a snapshot while the node closes: %v", err)
			}
			if _, at := x.Log(); at != 0 {
				t.Error("it was passed")
			}
		})
	}
}

// An index that turns out damaged is fetched, with what it had at least, and
// the entry at hand is applied to what came.
func TestADamagedIndexIsFetched(t *testing.T) {
	x, other := openFaulty(t), openFaulty(t)
	m := newMachine(x, slog.New(slog.DiscardHandler))
	for i := range 5 {
		for _, to := range []*faulty{x, other} {
			b, err := decodeEntry(entryOf(t, i))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := to.ApplyAt(t.Context(), uint64(i+1), b); err != nil {
				t.Fatal(err)
			}
		}
	}
	m.refresh()
	asked := []uint64{}
	m.fetch = func(ctx context.Context, least uint64) error {
		asked = append(asked, least)
		if len(asked) == 1 {
			return storage.ErrUnavailable // nobody answers yet
		}
		path := filepath.Join(t.TempDir(), "copy")
		if _, err := other.CopyTo(ctx, path); err != nil {
			return err
		}
		return x.Replace(ctx, path)
	}
	x.fails = []error{storage.ErrCorrupt}
	if _, err := m.apply(t.Context(), 6, entryOf(t, 5)); err != nil {
		t.Fatal(err)
	}
	if len(asked) != 2 || asked[1] != 5 || studies(t, x.Index) != 6 || m.unsound() != nil {
		t.Errorf("asked for %v, %d studies, %v", asked, studies(t, x.Index), m.unsound())
	}
}

// A copy that has less than the index replaces it only when it is of another
// log.
func TestInstall(t *testing.T) {
	x, other := openFaulty(t), openFaulty(t)
	m := newMachine(x, slog.New(slog.DiscardHandler))
	for i := range 3 {
		if _, err := m.apply(t.Context(), uint64(i+1), entryOf(t, i)); err != nil {
			t.Fatal(err)
		}
	}
	copied := func() string {
		path := filepath.Join(t.TempDir(), "copy")
		if _, err := other.CopyTo(t.Context(), path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if _, err := m.install(t.Context(), copied()); err != nil || studies(t, x.Index) != 3 {
		t.Errorf("it went back: %d studies, %v", studies(t, x.Index), err)
	}
	if err := other.Follow(t.Context(), "elsewhere"); err != nil {
		t.Fatal(err)
	}
	if _, err := m.install(t.Context(), copied()); err != nil || studies(t, x.Index) != 0 {
		t.Errorf("another log's: %d studies, %v", studies(t, x.Index), err)
	}
}

// broken is an index that cannot be exchanged.
type broken struct{ *faulty }

func (broken) Replace(context.Context, string) error { return storage.ErrFull }

// An index of which the exchange failed is fetched, whatever is left of it.
func TestInstallThatFails(t *testing.T) {
	x, other := openFaulty(t), openFaulty(t)
	if err := other.Follow(t.Context(), "elsewhere"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "copy")
	if _, err := other.CopyTo(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	m := newMachine(broken{x}, slog.New(slog.DiscardHandler))
	if _, err := m.install(t.Context(), path); !errors.Is(err, storage.ErrFull) {
		t.Fatalf("%v", err)
	}
	if err := m.unsound(); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("%v", err)
	}
}

// Who reads at the same time asks once, and never hears what was asked before
// it came.
func TestReadsShareTheirQuestion(t *testing.T) {
	var r reads
	var work sync.WaitGroup
	asked := make(chan struct{})
	answer := make(chan uint64)
	ask := func() (uint64, error) {
		asked <- struct{}{}
		return <-answer, t.Context().Err()
	}
	got := make(chan uint64, 10)
	run := func(f func()) bool { work.Go(f); return true }
	read := func() {
		at, err := r.join(t.Context(), run, ask)
		if err != nil {
			t.Error(err)
		}
		got <- at
	}
	go read()
	<-asked
	for range 5 {
		go read()
	}
	for { // until one of them at least waits for the next round
		r.mu.Lock()
		waits := r.next != nil
		r.mu.Unlock()
		if waits {
			break
		}
		time.Sleep(time.Millisecond)
	}
	answer <- 7
	if at := <-got; at != 7 {
		t.Errorf("%d", at)
	}
	for n := 0; n < 5; {
		select {
		case <-asked:
			answer <- 8
		case at := <-got:
			if at != 8 {
				t.Errorf("it heard %d, which was asked before it came", at)
			}
			n++
		}
	}
	work.Wait()
}

// What the first build with these versions wrote is read for ever.
func TestFormats(t *testing.T) {
	t.Run("entry", func(t *testing.T) {
		want := entryOf(t, 0)
		name := filepath.Join("testdata", "entry-v2.bin")
		if os.Getenv("CIGOGNE_UPDATE") != "" {
			if err := os.WriteFile(name, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		p, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := decodeEntry(p)
		if err != nil || len(b.Received) != 1 || b.Received[0].Key != (indextest.Population{Seed: 1, MaxInstances: 1}).Study(0)[0].Key {
			t.Errorf("%+v, %v", b, err)
		}
	})
	t.Run("snapshot", func(t *testing.T) {
		dir := fixture(t, snapshotFile, "snapshot-v1.json")
		s, err := openSnapshots(t.Context(), dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		list, err := s.List()
		if err != nil || len(list) != 1 || list[0].Index != 4 || list[0].Term != 2 || len(list[0].Configuration.Servers) != 1 || s.content() != 4 {
			t.Errorf("%+v, %v", list, err)
		}
	})
	t.Run("identity", func(t *testing.T) {
		id, err := readIdentity(fixture(t, identityFile, "node-v1.json"))
		if err != nil || id.Node != "n1" || id.Cluster != "6QEK7VFA3BZWS2TM4HYDLNXOPC" {
			t.Errorf("%+v, %v", id, err)
		}
	})
	for file, text := range map[string]string{snapshotFile: `{"format": 2}`, identityFile: `{"format": 2}`} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := readSnapshot(dir)
		_, ierr := readIdentity(dir)
		if err = errors.Join(err, ierr); !errors.Is(err, storage.ErrUnsupported) {
			t.Errorf("%s of a newer version: %v", file, err)
		}
	}
}

// fixture is a folder with one file of an earlier version in it.
func fixture(t *testing.T, as, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, as), b, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func FuzzEntry(f *testing.F) {
	e, err := encodeEntry(index.Batch{Received: indextest.Population{Seed: 1, MaxInstances: 1}.Study(0)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(e)
	f.Add([]byte{kindBatch})
	f.Fuzz(func(t *testing.T, p []byte) {
		b, err := decodeEntry(p)
		if err != nil {
			return
		}
		if _, err := encodeEntry(b); err != nil {
			t.Errorf("it is understood, but cannot be proposed: %v", err)
		}
	})
}
