package consensus

import (
	"bytes"
	"context"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
)

// TestWhatRottedInTheLog: an entry of which a byte has changed on the disk is not
// applied as another than the one that was proposed: the index that has it comes
// from another node.
func TestWhatRottedInTheLog(t *testing.T) {
	dir := t.TempDir()
	log := slog.New(slog.DiscardHandler)
	l, err := openLog(dir, log, nil)
	if err != nil {
		t.Fatal(err)
	}
	x, other := openFaulty(t), openFaulty(t)
	for i := range 3 {
		e := summed(entryOf(t, i))
		e.Index, e.Term, e.Type = uint64(i+1), 1, raft.LogCommand
		if err := l.StoreLog(&e); err != nil {
			t.Fatal(err)
		}
		if a := (fsm{newMachine(other, log), t.Context()}).Apply(&e); !applied(a) {
			t.Fatal(a)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	study := indextest.Population{Seed: 1, MaxInstances: 1}.Study(1)[0].Key.StudyInstanceUID
	spoil(t, dir, study)
	if l, err = openLog(dir, log, nil); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	m := newMachine(x, log)
	asked := []uint64{}
	m.fetch = func(ctx context.Context, least uint64) error {
		asked = append(asked, least)
		path := filepath.Join(t.TempDir(), "copy")
		if _, err := other.CopyTo(ctx, path); err != nil {
			return err
		}
		return x.Replace(ctx, path)
	}
	for at := range uint64(3) {
		var e raft.Log
		if err := l.GetLog(at+1, &e); err != nil {
			t.Fatal(err)
		}
		if a := (fsm{m, t.Context()}).Apply(&e); !applied(a) {
			t.Errorf("entry %d: %v", at+1, a)
		}
	}
	if len(asked) != 1 || asked[0] != 2 {
		t.Errorf("the index was fetched with %v", asked)
	}
	for _, err := range x.Search(t.Context(), index.Query{Level: index.Study, StudyInstanceUID: study}) {
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("study %s became another", study)
}

func applied(a any) bool {
	_, ok := a.(index.Applied)
	return ok
}

// spoil changes the last character of a text wherever it stands in the files.
func spoil(t *testing.T, dir, text string) {
	t.Helper()
	spoilt := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		other := []byte(text)
		other[len(other)-1] ^= 1
		spoilt += bytes.Count(b, []byte(text))
		return os.WriteFile(path, bytes.ReplaceAll(b, []byte(text), other), 0o600)
	})
	if err != nil || spoilt == 0 {
		t.Fatalf("%d times, %v", spoilt, err)
	}
}
