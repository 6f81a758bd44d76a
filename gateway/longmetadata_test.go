package gateway_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
	"github.com/esante-alsace/cigogne/storage/index"
)

// TestLongMetadata: an instance whose metadata is long beyond measure is found
// and rebuilt like those that lie in one pack with it.
func TestLongMetadata(t *testing.T) {
	if testing.Short() {
		t.Skip("it is long")
	}
	a := mem.New()
	n := open(t, t.TempDir(), a)
	n.storer = gateway.NewStorer(gateway.StoreOptions{Journal: n.journal, Index: n.index, Indexer: n.indexer, MaxDataSet: 64 << 20, Logger: slog.New(slog.DiscardHandler)})
	study := tiny(77, 2)
	n.mustStore(study.Instances[0])
	var long dicomtest.Builder
	for i := range uint32(700) {
		long.Text(0x7FE11000+i, "UT", strings.Repeat(`"`, 60_000))
	}
	if _, err := n.storeBytes(study.Instances[1], append(study.Instances[1].DataSet(), long.Bytes()...)); err != nil {
		t.Fatal(err)
	}
	q := index.Query{Level: index.Image, StudyInstanceUID: study.StudyInstanceUID}
	before := n.search(q)
	n.pass()
	fresh := open(t, t.TempDir(), a)
	done, err := gateway.Rebuild(t.Context(), gateway.RebuildOptions{
		Index: fresh.index, Archives: []archive.Archive{a}, Journal: fresh.journal, Problem: func(s string) { t.Error(s) },
	})
	if err != nil || done.Packed != 2 {
		t.Errorf("%+v, %v", done, err)
	}
	if after := n.search(q); len(before) != 2 || strings.Join(before, "") != strings.Join(after, "") {
		t.Errorf("in the journal %s\nin the pack %s", before, after)
	}
}
