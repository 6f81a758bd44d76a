package gateway_test

import (
	"bytes"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/archive/set"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/pack"
)

// compress lets the node's archiver plan packs with a compression.
func (n *node) compress(c pack.Compression) {
	n.archiver = gateway.NewArchiver(gateway.ArchiverOptions{
		Index: n.index, Proposer: n.proposer, Journal: n.journal, Indexer: n.indexer, Archive: n.archive,
		SpoolDir: n.t.TempDir(), Compression: c, Logger: slog.New(slog.DiscardHandler),
	})
}

// TestCompressedPacks: whatever the setting, what comes back is what came in,
// as a whole and in parts; the check is content, and a rebuild finds it all.
func TestCompressedPacks(t *testing.T) {
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 6, Instances: 3})
	frames := dicomtest.NewStudy(dicomtest.Options{Seed: 7, Instances: 1, Frames: 4})
	var plain int64
	for _, c := range []pack.Compression{pack.None, pack.Deflate, pack.Zstd} {
		t.Run(string(c), func(t *testing.T) {
			n := open(t, t.TempDir(), mem.New())
			n.compress(c)
			n.mustStore(study.Instances...)
			n.mustStore(frames.Instances...)
			n.pass()
			n.expect(study.StudyInstanceUID, study.Instances...)
			n.expect(frames.StudyInstanceUID, frames.Instances...)
			n.expectRanges(frames.Instances[0])

			if size := n.packBytes(); c == pack.None {
				plain = size
			} else if size > plain*3/4 {
				t.Errorf("%d bytes in the archive, %d without", size, plain)
			}
			checked, err := gateway.Check(t.Context(), gateway.CheckOptions{
				Index: n.index, Archives: []archive.Archive{n.archive}, Journal: n.journal, Problem: func(p string) { t.Error(p) },
			})
			if err != nil || checked.Packed != 4 {
				t.Errorf("%+v, %v", checked, err)
			}
			n.rebuild()
			n.expect(study.StudyInstanceUID, study.Instances...)
			n.expect(frames.StudyInstanceUID, frames.Instances...)
		})
	}
}

// expectRanges reads parts of an instance.
func (n *node) expectRanges(want dicomtest.Instance) {
	n.t.Helper()
	found, err := n.reader.Instances(n.t.Context(), gateway.Selector{StudyInstanceUID: want.StudyInstanceUID, SOPInstanceUID: want.SOPInstanceUID})
	if err != nil || len(found) != 1 {
		n.t.Fatalf("%d instances, %v", len(found), err)
	}
	dataSet, about := want.DataSet(), found[0].About()
	rng := rand.New(rand.NewPCG(1, 9))
	for range 50 {
		from := rng.Int64N(int64(len(dataSet)))
		r := storage.Range{Offset: from, Length: rng.Int64N(int64(len(dataSet)) - from)}
		if got := n.read(found[0], about.DataSet().Sub(r)); !bytes.Equal(got, dataSet[r.Offset:r.End()]) {
			n.t.Errorf("%+v came back altered", r)
		}
	}
}

func (n *node) packBytes() (bytes int64) {
	n.t.Helper()
	for st, err := range n.archive.List(n.t.Context(), "") {
		if err != nil {
			n.t.Fatal(err)
		}
		bytes += st.Size
	}
	return bytes
}

// rebuild makes the index anew.
func (n *node) rebuild() {
	n.t.Helper()
	fresh, err := index.Open(n.t.Context(), index.Options{Path: filepath.Join(n.t.TempDir(), "index.db"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { fresh.Close() })
	done, err := gateway.Rebuild(n.t.Context(), gateway.RebuildOptions{
		Index: fresh, Archives: []archive.Archive{n.archive}, Journal: n.journal, Problem: func(p string) { n.t.Error(p) },
	})
	if err != nil {
		n.t.Fatalf("%+v, %v", done, err)
	}
	n.reader = gateway.NewRetriever(gateway.RetrieverOptions{Index: fresh, Indexer: n.indexer, Journal: n.journal, Archive: n.archive})
	n.finder = gateway.NewSearcher(fresh, n.indexer, n.reader)
}

// TestCompressionIsPlanned changes the setting between the first copy of a
// pack and the second: both are the same bytes, as it was planned.
func TestCompressionIsPlanned(t *testing.T) {
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 8, Instances: 1})
	for _, c := range []struct{ before, after pack.Compression }{{pack.None, pack.Zstd}, {pack.Zstd, pack.Deflate}, {pack.Deflate, pack.None}} {
		first, second := mem.New(), &away{Archive: openDir(t), gone: true}
		all, err := set.New([]archive.Archive{first, second}, set.Options{Copies: 2})
		if err != nil {
			t.Fatal(err)
		}
		n := open(t, t.TempDir(), all)
		n.compress(c.before)
		n.mustStore(study.Instances...)
		if err := n.indexer.Await(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := n.archiver.Pass(t.Context()); err == nil {
			t.Fatal("a pass with one archive of two did not fail")
		}
		n = n.again()
		n.compress(c.after)
		second.gone = false
		n.pass()
		n.expectCopies(first.String(), second.String())
		n.expect(study.StudyInstanceUID, study.Instances...)
	}
}
