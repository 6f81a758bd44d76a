package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/dmp/ins"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// node is the use cases over real stores, its archiver called by hand.
type node struct {
	t        testing.TB
	dir      string
	archive  archive.Archive
	proposer *proposer
	index    *index.Index
	journal  *journal.Journal
	indexer  *gateway.Indexer
	storer   *gateway.Storer
	reader   *gateway.Retriever
	finder   *gateway.Searcher
	archiver *gateway.Archiver
	stop     func()
}

// proposer applies batches to the index, unless fail says otherwise before or
// after.
type proposer struct {
	mu            sync.Mutex
	index         *index.Index
	before, after func(index.Batch) error
}

func (p *proposer) Propose(ctx context.Context, b index.Batch) error {
	p.mu.Lock()
	before, after := p.before, p.after
	p.mu.Unlock()
	if before != nil {
		if err := before(b); err != nil {
			return err
		}
	}
	if _, err := p.index.Apply(ctx, b); err != nil {
		return err
	}
	if after != nil {
		return after(b)
	}
	return nil
}

func (p *proposer) fail(before, after func(index.Batch) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.before, p.after = before, after
}

func open(t testing.TB, dir string, a archive.Archive) *node {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	log := slog.New(slog.DiscardHandler)
	n := &node{t: t, dir: dir, archive: a}
	var err error
	if n.index, err = index.Open(ctx, index.Options{Path: filepath.Join(dir, "index.db"), Logger: log}); err != nil {
		t.Fatal(err)
	}
	n.proposer = &proposer{index: n.index}
	n.indexer = gateway.NewIndexer(n.proposer, log)
	n.indexer.Confirm(n.index.Applied)
	n.indexer.Reread(n.index, time.Minute)
	n.journal, err = journal.Open(ctx, journal.Options{Dir: filepath.Join(dir, "journal"), Durable: n.indexer.Durable, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	n.attach(ctx)
	n.storer = gateway.NewStorer(gateway.StoreOptions{Journal: n.journal, Index: n.index, Indexer: n.indexer, MaxDataSet: 4 << 20, Logger: log})
	n.reader = gateway.NewRetriever(gateway.RetrieverOptions{Index: n.index, Indexer: n.indexer, Journal: n.journal, Archive: a})
	n.finder = gateway.NewSearcher(n.index, n.indexer, n.reader, ins.Production)
	n.archiver = gateway.NewArchiver(gateway.ArchiverOptions{
		Index: n.index, Proposer: n.proposer, Journal: n.journal, Indexer: n.indexer, Archive: a,
		SpoolDir: t.TempDir(), PackBytes: 1 << 20, Logger: log,
	})
	run, cancel := context.WithCancel(ctx)
	var indexing sync.WaitGroup
	indexing.Go(func() { n.indexer.Run(run) })
	n.stop = sync.OnceFunc(func() {
		cancel()
		indexing.Wait()
		if err := errors.Join(n.journal.Close(), n.index.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(n.stop)
	return n
}

func (n *node) attach(ctx context.Context) {
	n.t.Helper()
	at, err := n.index.Applied(ctx, index.JournalID(n.journal.ID()))
	if err != nil {
		n.t.Fatal(err)
	}
	var last journal.Position
	for _, s := range n.journal.Segments() {
		if s.Last.Compare(last) > 0 {
			last = s.Last
		}
	}
	n.indexer.Attach(n.journal, journal.Position{Segment: at.Segment, Offset: at.Offset}, last)
}

// again closes the node and opens it as after a crash.
func (n *node) again() *node {
	n.t.Helper()
	n.stop()
	return open(n.t, n.dir, n.archive)
}

func (n *node) store(in dicomtest.Instance) (gateway.Receipt, error) {
	return n.storeBytes(in, in.DataSet())
}

func (n *node) storeBytes(in dicomtest.Instance, dataSet []byte) (gateway.Receipt, error) {
	p, err := n.storer.Receive(n.t.Context(), gateway.Incoming{
		Body: bytes.NewReader(dataSet), Form: gateway.DataSet, TransferSyntaxUID: in.TransferSyntaxUID,
		SOPClassUID: in.SOPClassUID, SOPInstanceUID: in.SOPInstanceUID,
		Origin: storage.Origin{Transport: "dimse", CallingAETitle: "TESTER"},
	})
	if err != nil {
		return gateway.Receipt{}, err
	}
	return p.Wait(n.t.Context())
}

func (n *node) mustStore(instances ...dicomtest.Instance) {
	n.t.Helper()
	for _, in := range instances {
		if _, err := n.store(in); err != nil {
			n.t.Fatalf("store %s: %v", in.SOPInstanceUID, err)
		}
	}
}

func (n *node) pass() {
	n.t.Helper()
	if err := n.indexer.Await(n.t.Context()); err != nil {
		n.t.Fatal(err)
	}
	if err := n.archiver.Pass(n.t.Context()); err != nil {
		n.t.Fatal(err)
	}
}

// expect checks that the study holds exactly these instances, each once, in
// searches and bit for bit in retrievals, of all and of each alone.
func (n *node) expect(study string, want ...dicomtest.Instance) {
	n.t.Helper()
	found, err := n.reader.Instances(n.t.Context(), gateway.Selector{StudyInstanceUID: study})
	if err != nil {
		n.t.Fatal(err)
	}
	n.compare(found, want)
	for _, in := range want {
		n.compare(n.alone(in), []dicomtest.Instance{in})
	}
	listed := 0
	for _, err := range n.finder.Search(n.t.Context(), index.Query{Level: index.Image, StudyInstanceUID: study}) {
		if err != nil {
			n.t.Fatal(err)
		}
		listed++
	}
	if listed != len(want) {
		n.t.Errorf("a search lists %d instances, not %d", listed, len(want))
	}
}

// alone retrieves an instance by its name, as viewers do.
func (n *node) alone(in dicomtest.Instance) []gateway.Instance {
	n.t.Helper()
	found, err := n.reader.Instances(n.t.Context(), nameOf(in))
	if err != nil {
		n.t.Fatal(err)
	}
	return found
}

func nameOf(in dicomtest.Instance) gateway.Selector {
	return gateway.Selector{
		StudyInstanceUID: in.StudyInstanceUID, SeriesInstanceUID: in.SeriesInstanceUID, SOPInstanceUID: in.SOPInstanceUID,
	}
}

func (n *node) compare(found []gateway.Instance, want []dicomtest.Instance) {
	n.t.Helper()
	bySOP := map[string]dicomtest.Instance{}
	for _, in := range want {
		bySOP[in.SOPInstanceUID] = in
	}
	for _, in := range found {
		about := in.About()
		w, ok := bySOP[about.Key.SOPInstanceUID]
		if !ok {
			n.t.Errorf("instance %s is here twice or should not be", about.Key.SOPInstanceUID)
			continue
		}
		delete(bySOP, about.Key.SOPInstanceUID)
		if got := n.read(in, about.DataSet()); !bytes.Equal(got, w.DataSet()) {
			n.t.Errorf("instance %s came back altered", about.Key.SOPInstanceUID)
		}
	}
	for sop := range bySOP {
		n.t.Errorf("instance %s is missing", sop)
	}
}

func (n *node) read(in gateway.Instance, r storage.Range) []byte {
	n.t.Helper()
	body, err := in.Open(n.t.Context(), r)
	if err != nil {
		n.t.Fatal(err)
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	if err != nil {
		n.t.Fatal(err)
	}
	return b
}

// packs are the keys in the archive.
func (n *node) packs() (keys []string) {
	n.t.Helper()
	for st, err := range n.archive.List(n.t.Context(), "") {
		if err != nil {
			n.t.Fatal(err)
		}
		keys = append(keys, st.Key)
	}
	return keys
}

// unreleased tells how many entries the journal still holds.
func (n *node) unreleased() (entries int) {
	for _, s := range n.journal.Segments() {
		entries += s.Entries
	}
	return entries
}

func tiny(seed uint64, instances int) dicomtest.Study {
	return dicomtest.NewStudy(dicomtest.Options{Seed: seed, Modality: "CR", Instances: instances})
}

// TestLife follows instances from the sender to the archive and back.
func TestLife(t *testing.T) {
	n := open(t, t.TempDir(), mem.New())
	study := tiny(1, 5)
	n.mustStore(study.Instances...)
	n.expect(study.StudyInstanceUID, study.Instances...)
	n.pass()
	n.expect(study.StudyInstanceUID, study.Instances...)
	if got := len(n.packs()); got != 1 {
		t.Errorf("%d packs, want 1", got)
	}
	if got := n.unreleased(); got != 0 {
		t.Errorf("the journal still holds %d entries", got)
	}
	n = n.again()
	n.expect(study.StudyInstanceUID, study.Instances...)

	late := tiny(1, 7)
	n.mustStore(late.Instances...) // five of them are here already
	n.expect(study.StudyInstanceUID, late.Instances...)
	n.pass()
	n.expect(study.StudyInstanceUID, late.Instances...)
	if got := len(n.packs()); got != 2 {
		t.Errorf("%d packs after late instances, want 2", got)
	}
}

// TestPackSize: a series that is larger than a pack makes several.
func TestPackSize(t *testing.T) {
	n := open(t, t.TempDir(), mem.New())
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 2, Instances: 5}) // 526 KB each, 1 MiB packs
	n.mustStore(study.Instances...)
	n.pass()
	if got := len(n.packs()); got != 5 {
		t.Errorf("%d packs, want 5", got)
	}
	n.expect(study.StudyInstanceUID, study.Instances...)
}

// TestCrashBetweenSteps cuts the archiver off before, in and after each of its
// steps. After a restart each instance is there once, in one pack.
func TestCrashBetweenSteps(t *testing.T) {
	cut := errors.New("cut off")
	planned := func(b index.Batch) error { return ifThen(len(b.Planned) > 0, cut) }
	archived := func(b index.Batch) error { return ifThen(len(b.Archived) > 0, cut) }
	for _, c := range []struct {
		name    string
		arrange func(*node, *faulty)
	}{
		{"before the plan", func(n *node, _ *faulty) { n.proposer.fail(planned, nil) }},
		{"after the plan", func(n *node, _ *faulty) { n.proposer.fail(nil, planned) }},
		{"before the put", func(_ *node, a *faulty) { a.before = cut }},
		{"in the put", func(_ *node, a *faulty) { a.half = cut }},
		{"after the put", func(_ *node, a *faulty) { a.after = cut }},
		{"before it is archived", func(n *node, _ *faulty) { n.proposer.fail(archived, nil) }},
		{"after it is archived", func(n *node, _ *faulty) { n.proposer.fail(nil, archived) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := &faulty{Archive: mem.New()}
			n := open(t, t.TempDir(), a)
			study := tiny(3, 4)
			n.mustStore(study.Instances...)
			if err := n.indexer.Await(t.Context()); err != nil {
				t.Fatal(err)
			}
			c.arrange(n, a)
			if err := n.archiver.Pass(t.Context()); !errors.Is(err, cut) {
				t.Fatalf("the pass was not cut off: %v", err)
			}
			a.before, a.half, a.after = nil, nil, nil
			n = n.again()
			n.expect(study.StudyInstanceUID, study.Instances...)
			n.pass()
			n.pass()
			n.expect(study.StudyInstanceUID, study.Instances...)
			if got := n.packs(); len(got) != 1 {
				t.Errorf("packs %v, want one", got)
			}
			if got := n.unreleased(); got != 0 {
				t.Errorf("the journal still holds %d entries", got)
			}
		})
	}
}

func ifThen(yes bool, err error) error {
	if yes {
		return err
	}
	return nil
}

// faulty is an archive whose Put fails when told so.
type faulty struct {
	archive.Archive
	before, half, after error
}

func (f *faulty) Put(ctx context.Context, key string, src archive.Source) (uint32, error) {
	if f.before != nil {
		return 0, f.before
	}
	if f.half != nil {
		src = halfSource{src, f.half}
	}
	crc, err := f.Archive.Put(ctx, key, src)
	if f.after != nil {
		return 0, f.after
	}
	return crc, err
}

// halfSource fails in the middle.
type halfSource struct {
	archive.Source
	err error
}

func (h halfSource) Open(ctx context.Context, r storage.Range) (io.ReadCloser, error) {
	body, err := h.Source.Open(ctx, r)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(io.LimitReader(body, r.Length/2), broken{h.err}), body}, nil
}

type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

// TestMoved: what was located in the journal is read from its pack when the
// journal has given its space back in between.
func TestMoved(t *testing.T) {
	n := open(t, t.TempDir(), mem.New())
	study := tiny(4, 3)
	n.mustStore(study.Instances...)
	located, err := n.reader.Instances(t.Context(), gateway.Selector{StudyInstanceUID: study.StudyInstanceUID})
	if err != nil {
		t.Fatal(err)
	}
	n.pass()
	if got := n.unreleased(); got != 0 {
		t.Fatalf("the journal still holds %d entries", got)
	}
	n.compare(located, study.Instances)
	var metadata bytes.Buffer
	if err := located[0].WriteMetadata(t.Context(), &metadata, "http://here"); err != nil {
		t.Error(err)
	}
	if _, err := located[0].Layout(t.Context()); err != nil {
		t.Error(err)
	}
	if !bytes.Contains(metadata.Bytes(), []byte(`"BulkDataURI":"http://here/bulkdata/7FE00010"`)) {
		t.Errorf("metadata %.200s", metadata.Bytes())
	}
}

// TestMetadataSurvivesPacking: an instance says the same of itself in the
// journal and in a pack.
func TestMetadataSurvivesPacking(t *testing.T) {
	n := open(t, t.TempDir(), mem.New())
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 5, Modality: "CR", Instances: 40, TransferSyntaxUID: dicomtest.RLE})
	n.mustStore(study.Instances...)
	describe := func() map[string]string {
		all := map[string]string{}
		found, err := n.reader.Instances(t.Context(), gateway.Selector{StudyInstanceUID: study.StudyInstanceUID})
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range found {
			var b bytes.Buffer
			if err := in.WriteMetadata(t.Context(), &b, ""); err != nil {
				t.Fatal(err)
			}
			l, err := in.Layout(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, " %+v %+v", l.Bulk, l.Frames)
			all[in.About().Key.SOPInstanceUID] = b.String()
		}
		return all
	}
	before := describe()
	n.pass()
	for sop, after := range describe() {
		if after != before[sop] {
			t.Errorf("instance %s\nin the journal %s\nin the pack    %s", sop, before[sop], after)
		}
	}
}
