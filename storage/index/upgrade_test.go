package index_test

import (
	"compress/gzip"
	"database/sql"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
)

// TestUpgrade opens an index that schema version 1 wrote: what it holds is
// there, and it goes on.
func TestUpgrade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	unzip(t, "testdata/v1.db.gz", path)
	for range 2 { // the second time there is nothing to bring up to date
		x, err := index.Open(t.Context(), index.Options{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		sound(t, x)
		s, err := x.Counts(t.Context())
		if want := (index.Stats{Studies: 41, Series: 78, Instances: 193, Live: 137, LiveBytes: 218920, Planned: 18, Packs: 49, Conflicts: 21}); err != nil || s != want {
			t.Errorf("%+v, want %+v (%v)", s, want, err)
		}
		named := 0
		for _, study := range search(t, x, index.Query{Level: index.Study}) {
			name, uid := first(study, 0x00100010), first(study, 0x0020000D)
			if name == "" {
				continue
			}
			named++
			family, _, _ := strings.Cut(name, "^")
			for _, asked := range []string{name, family + "^*", string([]rune(family)[:1]) + "*"} {
				of := search(t, x, index.Query{Level: index.Study, Match: []index.Condition{{Path: []dicom.Tag{0x00100010}, Value: asked}}})
				if !slices.ContainsFunc(of, func(ds dicom.DataSet) bool { return first(ds, 0x0020000D) == uid }) {
					t.Errorf("the study of %s is not found by %s", name, asked)
				}
			}
		}
		if named == 0 {
			t.Error("no study has a name")
		}
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func unzip(t *testing.T, from, to string) {
	t.Helper()
	f, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestUpgradeOfAnEarlierVersion2 opens an index that was written before there
// were words, and referring physicians among the names, and manifests counted.
func TestUpgradeOfAnEarlierVersion2(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	x, err := index.Open(t.Context(), index.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	batches(indextest.Population{Seed: 14, MaxSeries: 1, MaxInstances: 1}, 60, 60, func(b index.Batch) { apply(t, x, b) })
	ask := func(x *index.Index) (found []int) {
		for tag, value := range map[dicom.Tag]string{0x00100010: "*ea*", 0x00080090: "Weiss^*"} {
			found = append(found, int(tag), len(search(t, x, index.Query{Level: index.Study, Match: []index.Condition{{Path: []dicom.Tag{tag}, Value: value}}})))
		}
		slices.Sort(found)
		return found
	}
	want := ask(x)
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), `DROP TABLE word; DELETE FROM name WHERE folded >= '=' AND folded < '>';
		ALTER TABLE study DROP COLUMN manifests; ALTER TABLE series DROP COLUMN manifests; ALTER TABLE deleted_series DROP COLUMN manifests;
		ALTER TABLE life DROP COLUMN manifest`); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := index.Open(t.Context(), index.Options{Path: path, ReadOnly: true}); !errors.Is(err, storage.ErrUnsupported) {
		t.Errorf("opened for reading before it was brought up to date: %v", err)
	}
	for range 2 {
		x, err := index.Open(t.Context(), index.Options{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		sound(t, x)
		if got := ask(x); !slices.Equal(got, want) || want[0] == 0 {
			t.Errorf("found %v, before %v", got, want)
		}
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
