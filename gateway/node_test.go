package gateway_test

import (
	"bytes"
	"context"
	"errors"
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
