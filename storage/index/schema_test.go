package index_test

import (
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// TestOtherVersions: an index of another version is refused by name, whichever
// way it is opened, and not taken for a damaged one.
func TestOtherVersions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	x, err := index.Open(t.Context(), index.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	for version, earlier := range map[int]bool{1: true, 2: true, 4: false} {
		setVersion(t, path, version)
		for _, readOnly := range []bool{false, true} {
			_, err := index.Open(t.Context(), index.Options{Path: path, ReadOnly: readOnly})
			if !errors.Is(err, storage.ErrUnsupported) || errors.Is(err, storage.ErrEarlierDigest) != earlier || errors.Is(err, storage.ErrCorrupt) {
				t.Errorf("version %d, read only %t: %v", version, readOnly, err)
			}
		}
		if _, _, err := index.Peek(t.Context(), path); !errors.Is(err, storage.ErrUnsupported) {
			t.Errorf("version %d: %v", version, err)
		}
	}
	setVersion(t, path, 3)
	if x, err = index.Open(t.Context(), index.Options{Path: path}); err != nil {
		t.Fatal(err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
}

func setVersion(t *testing.T, path string, version int) {
	t.Helper()
	execute(t, path, fmt.Sprintf("PRAGMA user_version = %d", version))
}

func execute(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

// TestTheFirstFilesOfThisVersion: what they lack is made when they are opened.
func TestTheFirstFilesOfThisVersion(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	for range 3 {
		x, err := index.Open(t.Context(), index.Options{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
		execute(t, path, "DROP INDEX study_bare")
	}
}
