package index_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
)

// TestLongWAL: searches one after the other, by several at once, do not keep
// the -wal from being emptied.
func TestLongWAL(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	x, err := index.Open(t.Context(), index.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	x.EmptyWALFrom(1 << 20)
	var all sync.WaitGroup
	defer all.Wait()
	done := make(chan struct{})
	defer close(done)
	for range 3 {
		all.Go(func() { searchUntil(t, x, done) })
	}
	const perBatch, most = 50, 100
	people := indextest.Population{Seed: 7, MaxSeries: 2, MaxInstances: 2}
	for n, before := 0, int64(0); n < most; n++ {
		var b index.Batch
		for i := range perBatch {
			b.Received = append(b.Received, people.Study(n*perBatch+i)...)
		}
		if _, err := x.Apply(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() < before {
			return
		}
		before = info.Size()
	}
	t.Errorf("the -wal was not emptied in %d batches", most)
}

func searchUntil(t *testing.T, x *index.Index, done <-chan struct{}) {
	for {
		for _, err := range x.Search(t.Context(), index.Query{Level: index.Study, Limit: 500}) {
			if err != nil {
				t.Error(err)
				return
			}
		}
		select {
		case <-done:
			return
		default:
		}
	}
}
