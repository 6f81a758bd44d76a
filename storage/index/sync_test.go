package index_test

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
)

// TestUnsettledOpen: an index that is opened while somebody beside reads what is
// older, so that not all of its -wal can be brought into the database, says
// that it is not durable, in a cluster's beginning, too, until that is over.
func TestUnsettledOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	before, err := index.Open(t.Context(), index.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	batches := population(3)
	apply(t, before, batches[0])
	beside, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer beside.Close()
	tx, err := beside.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	var n int
	if err := tx.QueryRowContext(t.Context(), "SELECT count(*) FROM study").Scan(&n); err != nil {
		t.Fatal(err)
	}
	apply(t, before, batches[1]) // stays in the -wal
	x, err := index.Open(t.Context(), index.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	if err := x.Sync(t.Context()); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("durable while it cannot be: %v", err)
	}
	if err := x.Follow(t.Context(), "region"); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("a cluster's beginning is durable while it cannot be: %v", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := x.Sync(t.Context()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if err := x.Follow(t.Context(), "region"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestFailedSync: what the disk lost is told once, and not believed afterwards:
// nothing is durable until the index is opened again.
func TestFailedSync(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	x, err := index.Open(t.Context(), index.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { x.Close() }()
	in := indextest.Population{Journal: "node-1"}.Study(1)
	apply(t, x, index.Batch{Received: in})
	fails := true
	x.Fsync(func(*os.File) error {
		if fails {
			fails = false
			return syscall.EIO
		}
		return nil
	})
	for range 2 {
		if err := x.Sync(t.Context()); !errors.Is(err, storage.ErrUnavailable) || x.Failing() == nil {
			t.Errorf("Sync says %v, and Failing %v", err, x.Failing())
		}
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	if x, err = index.Open(t.Context(), index.Options{Path: path}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(x.Sync(t.Context()), x.Failing()); err != nil {
		t.Error(err)
	}
	if s, err := x.Counts(t.Context()); err != nil || s.Instances != int64(len(in)) {
		t.Errorf("%+v, %v; want %d instances", s, err, len(in))
	}
}
