package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/dmp/ins"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/archive/set"
	"github.com/esante-alsace/cigogne/storage/dicom"
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
	ranges := 50
	if testing.Short() {
		ranges = 10
	}
	for range ranges {
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
	n.finder = gateway.NewSearcher(fresh, n.indexer, n.reader, ins.Production)
}

// TestCompressionIsPlanned changes the setting between the first copy of a
// pack and the second: both are the same bytes, as it was planned.
func TestCompressionIsPlanned(t *testing.T) {
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 8, Instances: 1})
	for _, c := range []struct{ before, after pack.Compression }{{pack.None, pack.Zstd}, {pack.Zstd, pack.Deflate}, {pack.Deflate, pack.None}} {
		first, second := mem.New(), &faulty{Archive: openDir(t), before: errors.New("cut off")}
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
		if err := n.archiver.Pass(t.Context()); !errors.Is(err, second.before) || n.packBytes() == 0 {
			t.Fatalf("the pass was to be cut off between the copies: %v, %d bytes", err, n.packBytes())
		}
		n = n.again()
		n.compress(c.after)
		plans, err := n.index.Planned(t.Context())
		if want := string(c.before); err != nil || len(plans) != 1 || plans[0].Compression != want && (want != "none" || plans[0].Compression != "") {
			t.Fatalf("%+v is planned (%v), want one pack of %s", plans, err, c.before)
		}
		second.before = nil
		n.pass()
		n.expectCopies(first.String(), second.String())
		n.expect(study.StudyInstanceUID, study.Instances...)
	}
}

// TestOtherCompressorBeforeACrash: the pack of another version of the program,
// in other bytes, is taken for what was planned, and is what is copied on.
func TestOtherCompressorBeforeACrash(t *testing.T) {
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 9, Instances: 2})
	for _, copies := range []int{1, 2} {
		first := &otherCompressor{Archive: mem.New(), t: t}
		second := &faulty{Archive: openDir(t), before: errors.New("cut off")}
		var all archive.Archive = first
		want := []string{first.String()}
		if copies == 2 {
			var err error
			if all, err = set.New([]archive.Archive{first, second}, set.Options{Copies: 2}); err != nil {
				t.Fatal(err)
			}
			want = append(want, second.String())
		}
		n := open(t, t.TempDir(), all)
		n.compress(pack.Zstd)
		n.mustStore(study.Instances...)
		if err := n.indexer.Await(t.Context()); err != nil {
			t.Fatal(err)
		}
		n.proposer.fail(func(b index.Batch) error { return ifThen(len(b.Archived) > 0, errors.New("cut off")) }, nil)
		err := n.archiver.Pass(t.Context())
		before := n.packBytes()
		if err == nil || before == 0 {
			t.Fatalf("the pass was to be cut off after the first copy: %v, %d bytes", err, before)
		}
		first.crashed, second.before = true, nil
		n = n.again()
		n.compress(pack.Zstd)
		n.pass()
		n.expectCopies(want...)
		n.expect(study.StudyInstanceUID, study.Instances...)
		if after := n.packBytes(); after != before {
			t.Errorf("%d copies: the pack has %d bytes, %d before", copies, after, before)
		}
	}
}

// otherCompressor is an archive to which a program of another version writes
// until that crashes.
type otherCompressor struct {
	archive.Archive
	t       *testing.T
	crashed bool
}

func (o *otherCompressor) Put(ctx context.Context, key string, src archive.Source) (uint32, error) {
	if o.crashed {
		return o.Archive.Put(ctx, key, src)
	}
	d, err := pack.ReadDirectory(ctx, src)
	if err != nil {
		return 0, err
	}
	var members []pack.Member
	err = d.Details(ctx, src, 0, len(d.Entries), func(i int, l *dicom.Layout, metadata io.Reader) error {
		text, err := io.ReadAll(metadata)
		members = append(members, pack.Member{
			Instance: d.Entries[i].Instance, Layout: l,
			Open: func(ctx context.Context, r storage.Range) (io.ReadCloser, error) { return d.Open(ctx, src, i, r) },
			WriteMetadata: func(_ context.Context, w io.Writer) error {
				_, err := w.Write(text)
				return err
			},
		})
		return err
	})
	if err != nil {
		return 0, err
	}
	other, err := pack.Build(ctx, pack.Options{Compression: pack.Deflate, SpoolDir: o.t.TempDir()}, members)
	if err != nil {
		return 0, err
	}
	defer other.Close()
	return o.Archive.Put(ctx, key, other)
}
