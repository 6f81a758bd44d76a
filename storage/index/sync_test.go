package index_test

import (
	"database/sql"
	"errors"
	"path/filepath"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
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
