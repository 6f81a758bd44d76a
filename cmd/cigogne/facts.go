package main

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/esante-alsace/cigogne/cmd/cigogne/metrics"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// wireMetrics has metrics tell what the node knows of itself.
func (n *node) wireMetrics() {
	n.metrics.Stores(metrics.Stores{
		Index: n.index, Journal: n.journal, JournalMost: int64(n.config.JournalMax),
		IndexFailing: n.indexer.Failing, ArchiveFailing: n.archiver.Failing,
		Archives: func() map[string]error { return n.archives.Health(n.archiver.Failing()) },
		Sweeper:  n.sweeper,
	})
	n.metrics.Facts(metrics.Facts{
		Queues: n.queues, Arrivals: n.arrivals.List, Disk: n.disk.Now, Certificates: n.certificates, Budgets: n.budgets, Caches: n.caches,
	})
	if n.cluster != nil {
		n.metrics.Cluster(n.cluster)
		n.metrics.Copies(metrics.Copies{Wanted: n.writeCopies, Keeper: n.copying.keeper, Holder: n.copying.holder, Evacuator: n.copying.evacuator})
	}
	if n.scrubber != nil {
		n.metrics.Scrubber(n.scrubber)
	}
}

// ownQueues are those of the node.
func (n *node) ownQueues() (all []metrics.Queue) {
	if n.copying != nil {
		k := n.copying.keeper.Status()
		all = append(all, metrics.Queue{Name: metrics.QueueCopies, Instances: int64(k.Waiting), Oldest: k.Oldest})
	}
	held, _ := n.indexer.Held()
	return append(all, metrics.Queue{Name: metrics.QueueIndex, Instances: int64(held), Oldest: n.indexer.Oldest()})
}

// clusterQueues are those of all nodes together, and how many packs are
// written or wait for it.
func (n *node) clusterQueues(ctx context.Context) (all []metrics.Queue, packs int64, err error) {
	b, err := n.index.Backlog(ctx)
	return []metrics.Queue{
		{Name: metrics.QueuePack, Instances: b.Unplanned, Bytes: b.UnplannedBytes, Oldest: unixTime(b.Quiet)},
		{Name: metrics.QueueArchive, Instances: b.Planned, Bytes: b.PlannedBytes, Oldest: unixTime(b.Oldest)},
	}, b.Packs, err
}

// queues are those of the node and of all together.
func (n *node) queues(ctx context.Context) (all []metrics.Queue, packs int64, err error) {
	all, packs, err = n.clusterQueues(ctx)
	return append(n.ownQueues(), all...), packs, err
}

// unixTime is a time of the index, where 0 is none.
func unixTime(nanoseconds int64) time.Time {
	if nanoseconds == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanoseconds)
}

// certificates are those that the node shows others.
func (n *node) certificates() []metrics.Certificate {
	if n.cluster == nil {
		return nil
	}
	return []metrics.Certificate{{Name: "peer", Expiry: n.cluster.expiry}, {Name: metrics.AuthorityCertificate, Expiry: n.cluster.authority}}
}

// budgets are what bounds the memory that callers and work can cost.
func (n *node) budgets() []metrics.Budget {
	c := n.config
	held, heldBytes := n.indexer.Held()
	heldMost, heldBytesMost := n.indexer.HeldMost()
	directories := n.reader.Directories()
	all := []metrics.Budget{
		{Name: "associations", Used: int64(n.scp.Load().Established()), Limit: int64(c.MaxAssociations)},
		{Name: "http connections", Used: n.http.Open(), Limit: int64(c.MaxConnections)},
		counted("uploads", n.uploads.Used),
		{Name: "instances being made durable", Used: int64(n.journal.Stats().Pending), Limit: journal.DefaultMaxPending},
		{Name: "instances for the index", Used: int64(held), Limit: int64(heldMost)},
		{Name: "attributes for the index", Bytes: true, Used: int64(heldBytes), Limit: int64(heldBytesMost)},
		{Name: "directories of packs", Bytes: true, Used: directories.Bytes, Limit: directories.Most},
	}
	all = append(all, counted("API requests", n.rpc.Requests))
	for _, k := range slices.Sorted(maps.Keys(n.gates)) {
		all = append(all, counted("requests for "+string(k), n.gates[k].Used))
	}
	if n.cluster != nil {
		all = append(all, counted("peer connections", n.cluster.port.Connections), counted("proposals of other nodes", n.cluster.Proposals))
	}
	if s, ok := n.archives.Cached(); ok {
		all = append(all,
			metrics.Budget{Name: "cache on disk", Bytes: true, Used: s.Bytes, Limit: int64(c.CacheMax)},
			metrics.Budget{Name: "fetches into the cache", Used: int64(s.Fetching), Limit: int64(s.FetchingMost)})
	}
	return all
}

// caches are how often what is remembered was of use.
func (n *node) caches() []metrics.Cache {
	directories := n.reader.Directories()
	all := []metrics.Cache{{Name: "directories", Hits: directories.Hits, Misses: directories.Misses}}
	if s, ok := n.archives.Cached(); ok {
		all = append(all, metrics.Cache{Name: "blocks", Hits: s.Hits, Misses: s.Misses})
	}
	return all
}

// counted is a budget of which some is in use now.
func counted(name string, of func() (now, most int)) metrics.Budget {
	now, most := of()
	return metrics.Budget{Name: name, Used: int64(now), Limit: int64(most)}
}

// recallEvery is how often the node looks who was heard of at others.
const recallEvery = 20 * time.Second

// recall lets the node know who was heard of before it started, and at other
// nodes, until ctx ends. That it fails is no reason to stop.
func (n *node) recall(ctx context.Context) error {
	tick := time.NewTicker(recallEvery)
	defer tick.Stop()
	for {
		if err := n.arrivals.Recall(ctx, n.index); err != nil && ctx.Err() == nil {
			n.log.Warn("when sites were heard of before is not known", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
