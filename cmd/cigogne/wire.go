package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/esante-alsace/cigogne/cmd/cigogne/archives"
	"github.com/esante-alsace/cigogne/cmd/cigogne/disk"
	"github.com/esante-alsace/cigogne/cmd/cigogne/listener"
	"github.com/esante-alsace/cigogne/cmd/cigogne/metrics"
	"github.com/esante-alsace/cigogne/cmd/cigogne/tracing"
	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/access"
	"github.com/esante-alsace/cigogne/gateway/commitment"
	"github.com/esante-alsace/cigogne/gateway/dimse"
	"github.com/esante-alsace/cigogne/gateway/dmp/publication"
	"github.com/esante-alsace/cigogne/gateway/rpc"
	"github.com/esante-alsace/cigogne/gateway/throttle"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// rereadEvery is how often it is looked whether what was damaged in the journal
// can be read by now.
const rereadEvery = time.Minute

// node is a running gateway: the stores, the use cases over them, and the
// transports in front.
type node struct {
	config  *serveCommand
	log     *slog.Logger
	metrics *metrics.Metrics
	keeper  access.Gatekeeper

	cluster  *cluster // nil for a node that stands alone
	copying  *copying // likewise
	proposer gateway.Proposer

	index    *index.Index
	journal  *journal.Journal
	archives *archives.Archives
	sites    *gateway.Sites
	people
	publication *publication.Publisher
	sender      *publication.Sender // nil without --dmp-endpoint
	committer   *commitment.Committer

	indexer  *gateway.Indexer
	archiver *gateway.Archiver
	scrubber *gateway.Scrubber // nil without --scrub-rate
	storer   *gateway.Storer
	finder   *gateway.Searcher
	reader   *gateway.Retriever

	custodian *gateway.Custodian
	sweeper   *gateway.Sweeper
	past      *gateway.Historian
	sent      *gateway.Retrievals
	report    *report
	rpc       *rpc.Server
	oversight

	disk     *disk.Watch
	spans    *tracing.Spans
	trails   *gateway.Trails
	arrivals *gateway.Arrivals
	gates    map[kind]*throttle.Gate
	uploads  *throttle.Slots // of STOW-RS requests

	scp   atomic.Pointer[dimse.Server] // other nodes ask of it before it is there
	dimse net.Listener
	http  *listener.Listener
}

// name is what the node is called in what it notes: its id in the cluster or,
// alone, the machine's name.
func (n *node) name() string {
	if n.config.NodeID != "" {
		return n.config.NodeID
	}
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}

// openNode opens the stores and the listeners; serve sets it to work.
func openNode(ctx context.Context, c *serveCommand, log *slog.Logger) (*node, error) {
	n := &node{
		config: c, log: log, metrics: metrics.New(), keeper: access.Audited{Gatekeeper: c.gatekeeper(), Log: log},
		uploads: throttle.NewSlots(c.MaxUploads, c.MaxUploadsPerHost),
	}
	n.gates = n.newGates()
	n.disk = n.newDiskWatch()
	var err error
	if n.spans, err = c.openSpans(ctx, n.name(), log); err != nil {
		return nil, err
	}
	if n.spans.Tracer != nil {
		n.log = slog.New(tracing.Log(log.Handler()))
	}
	n.trails = gateway.NewTrails(n.spans.Tracer)
	if c.clustered() {
		n.copying = n.newCopying()
	}
	if err := n.open(ctx); err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

func (n *node) open(ctx context.Context) (err error) {
	if n.sites, err = n.config.loadSites(); err != nil {
		return err
	}
	if err := n.openStores(ctx); err != nil {
		return err
	}
	n.wireUseCases()
	if err := n.wirePublication(); err != nil {
		return err
	}
	n.wireCommitment()
	if err := n.wireScrubber(); err != nil {
		return err
	}
	n.scp.Store(n.newSCP())
	n.report = newReport(n)
	if err := n.wireOversight(); err != nil {
		return err
	}
	if n.rpc, err = n.newRPC(); err != nil {
		return fmt.Errorf("API: %w", err)
	}
	n.wireMetrics() //nolint:contextcheck // what a scrape asks has a time of its own
	if n.dimse, err = listen(ctx, "dimse", n.config.DIMSE); err != nil {
		return err
	}
	web, err := listen(ctx, "http", n.config.HTTP)
	if err != nil {
		return err
	}
	n.http = listener.Bound(web, listener.Options{
		Most: n.config.MaxConnections, MostOfHost: n.config.MaxConnectionsPerHost,
		Quiet:   func() bool { return n.scp.Load().Established() == 0 },
		Refused: func(err error) { n.metrics.TurnedAway("connections", err) },
	})
	return nil
}

func (n *node) openStores(ctx context.Context) error {
	s := &n.config.stores
	if n.config.UnsafeNoFsync {
		n.log.Warn("nothing is fsynced: a power cut loses what is acknowledged")
	}
	// The journal comes first: its lock keeps two processes apart.
	err := n.openJournal(ctx)
	if err != nil {
		return err
	}
	if err := s.prepare(); err != nil {
		return err
	}
	if n.archives, err = s.openArchives(ctx, n.metrics.S3Answered); err != nil {
		return err
	}
	if err := n.archives.CacheIn(filepath.Join(s.DataDir, "cache"), int64(n.config.CacheMax)); err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	if err := n.openIndex(ctx); err != nil {
		return err
	}
	n.indexer = gateway.NewIndexer(n.proposer, n.log)
	n.indexer.Tell(n.metrics, n.trails)
	n.indexer.Reread(n.index, rereadEvery)
	if n.cluster != nil {
		n.indexer.ReadThrough(n.cluster.Fresh, n.cluster.Strong)
		n.indexer.Confirm(n.index.Applied)
	}
	return n.attachIndexer(ctx)
}

// openJournal opens the node's own journal. Nothing becomes durable in it
// before there is an indexer.
func (n *node) openJournal(ctx context.Context) (err error) {
	o := journal.Options{
		MaxBytes: int64(n.config.JournalMax), SegmentBytes: n.config.segmentBytes(), Logger: n.log, AllowDamage: n.config.AllowDamage,
		Durable: func(e []journal.Entry) { n.indexer.Durable(e) },
		Synced:  n.metrics.Synced, NoSync: n.config.UnsafeNoFsync,
	}
	if n.copying != nil {
		o.Durable = n.copying.keeper.Durable // the indexer is told when the copies are
		o.Ahead = n.copying.keeper.Ahead
	}
	n.journal, err = n.config.openJournal(ctx, o)
	return err
}

// openIndex opens the index and finds who changes it: this node alone, or the
// cluster that it is of.
func (n *node) openIndex(ctx context.Context) (err error) {
	if n.config.clustered() {
		if n.index, err = n.openClusterIndex(ctx); err != nil {
			return err
		}
		if err := n.openCopies(ctx); err != nil {
			return err
		}
		if err := n.openCluster(ctx); err != nil {
			return err
		}
		n.proposer = n.stamped(n.cluster)
		return n.claim(ctx)
	}
	if n.index, err = n.config.openIndex(ctx, n.log); err != nil {
		return err
	}
	if cluster, _ := n.index.Log(); cluster != "" {
		return fmt.Errorf("%w: %s is of a node of a cluster: --node-id and --peer are missing", storage.ErrConflict, n.config.DataDir)
	}
	n.proposer = n.stamped(alone{n.index})
	return n.refuseForgottenPacks(ctx)
}

func (n *node) attachIndexer(ctx context.Context) error {
	if n.copying != nil {
		if err := n.askAtStart(ctx); err != nil {
			return err
		}
	}
	applied, err := n.index.Applied(ctx, index.JournalID(n.journal.ID()))
	if err != nil {
		return err
	}
	at := journal.Position{Segment: applied.Segment, Offset: applied.Offset}
	if n.copying != nil {
		n.indexer.Attach(n.journal, at, at) // the keeper tells of the rest
		return n.copying.keeper.Attach(n.journal, at)
	}
	// New instances would lie at places that the index has passed, and would
	// never be indexed.
	if !n.journal.Reaches(at) {
		return fmt.Errorf("%w: the index knows the journal up to %s, and the journal does not reach that: files of it are gone, or are of an older copy: run 'cigogne archive rebuild-index --data-dir %s'",
			storage.ErrCorrupt, at, n.config.DataDir)
	}
	var last journal.Position
	for _, s := range n.journal.Segments() {
		if s.Last.Compare(last) > 0 {
			last = s.Last
		}
	}
	n.indexer.Attach(n.journal, at, last)
	return nil
}

func (n *node) wireUseCases() {
	c := n.config
	var held gateway.Copies
	var journals gateway.Journals
	if n.copying != nil {
		held, journals = n.copying.keeper, n.copying.reader
		n.copying.evacuator = gateway.NewEvacuator(gateway.EvacuatorOptions{
			Index: n.index, Proposer: n.proposer, Journal: n.journal, Indexer: n.indexer, Copies: held, Held: n.copying.holder, Gone: n.isGone, Logger: n.log,
		})
	}
	n.indexer.Copied(held)
	n.wirePeople()
	n.arrivals = gateway.NewArrivals(n.sites)
	n.storer = gateway.NewStorer(gateway.StoreOptions{
		Journal: n.journal, Index: n.index, Indexer: n.indexer, Copies: held, MaxDataSet: int64(c.MaxDataSet), Sites: n.sites,
		Arrivals: n.arrivals, Clock: n.metrics, Logger: n.log,
	})
	n.reader = gateway.NewRetriever(gateway.RetrieverOptions{
		Index: n.index, Indexer: n.indexer, Journal: n.journal, Journals: journals, Archive: n.archives.Read, Far: n.archives.Far,
		Damaged: n.archives.Suspect,
	})
	n.finder = gateway.NewSearcher(n.index, n.indexer, n.reader, c.realm())
	n.sent = gateway.NewRetrievals(n.proposer, n.log)
	n.past = gateway.NewHistorian(n.index, n.indexer, n.reader)
	n.archiver = gateway.NewArchiver(gateway.ArchiverOptions{
		Index: n.index, Proposer: n.proposer, Journal: n.journal, Journals: journals, Indexer: n.indexer,
		Archive: n.archives.Archive, SpoolDir: c.spoolDir(), Compression: c.PackCompression,
		Settle: c.Settle, Pressed: n.pressed,
		Clock: n.metrics, Tracer: n.spans.Tracer, Trails: n.trails, Logger: n.log,
	})
	n.wireCustody()
}

func (n *node) newDiskWatch() *disk.Watch {
	most := int64(n.config.JournalMax)
	if most == 0 {
		return disk.NewWatch(n.config.journalDir(), nil)
	}
	return disk.NewWatch(n.config.journalDir(), func() int64 { return most - n.journal.Stats().Bytes })
}

// pressed tells whether the journal has three quarters of what it may take.
func (n *node) pressed() bool {
	most := int64(n.config.JournalMax)
	return most > 0 && n.journal.Stats().Bytes > most/4*3
}

func (n *node) wireScrubber() error {
	c := n.config
	if c.ScrubRate == 0 {
		return nil
	}
	slow, all, err := n.archives.Paced(int64(c.ScrubRate), func(key string) { n.archives.Forget(key) })
	if err != nil {
		return err
	}
	n.scrubber = gateway.NewScrubber(gateway.ScrubberOptions{
		Index: n.index, Proposer: n.proposer, Archives: slow, Repair: all, Every: c.ScrubEvery,
		State: c.scrubPath(), Suspects: n.archives.Suspects(), Logger: n.log,
	})
	return nil
}
