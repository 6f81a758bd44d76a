package index_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

func TestADamagedFileIsCorrupt(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, path string){
		"not a database": func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte("this is no database, but it is long enough to have been one, at least by its header of 100 bytes or so"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"zeros in the schema": func(t *testing.T, path string) {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteAt(make([]byte, 3000), 100); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "index.db")
			x, err := index.Open(t.Context(), index.Options{Path: path})
			if err != nil {
				t.Fatal(err)
			}
			if err := x.Close(); err != nil {
				t.Fatal(err)
			}
			damage(t, path)
			if _, err := index.Open(t.Context(), index.Options{Path: path}); !errors.Is(err, storage.ErrCorrupt) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a folder? with #odd %20 names.db")
	in := oneSeries()
	for range 3 {
		x, err := index.Open(t.Context(), index.Options{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		apply(t, x, index.Batch{Through: in[4].At, Received: in})
		if c, err := x.Counts(t.Context()); err != nil || c.Live != 5 {
			t.Errorf("%+v, %v", c, err)
		}
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

func TestClosed(t *testing.T) {
	x := open(t)
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Apply(t.Context(), index.Batch{}); err == nil {
		t.Error("a batch was applied to a closed index")
	}
	if _, err := x.Counts(t.Context()); err == nil {
		t.Error("a closed index counts")
	}
}
