package main

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/esante-alsace/cigogne/storage/archive/cache"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// queue is work that waits.
type queue struct {
	Name string
	// Instances and Bytes are how much; Bytes is 0 where that is not counted.
	Instances, Bytes int64
	// Oldest is since when the first of it waits; zero for none.
	Oldest time.Time
}

// The queues. What waits for copies and for the index is this node's; what
// waits to be packed and to be archived is the cluster's.
const (
	queueCopies  = "copies"
	queueIndex   = "index"
	queuePack    = "pack"    // Oldest: since when the series is quiet
	queueArchive = "archive" // Oldest: when the instance was received
)

// ownQueues are those of the node.
func (n *node) ownQueues() (all []queue) {
	if n.copying != nil {
		k := n.copying.keeper.Status()
		all = append(all, queue{Name: queueCopies, Instances: int64(k.Waiting), Oldest: k.Oldest})
	}
	held, _ := n.indexer.Held()
	return append(all, queue{Name: queueIndex, Instances: int64(held), Oldest: n.indexer.Oldest()})
}

// clusterQueues are those of all nodes together, and how many packs are
// written or wait for it.
func (n *node) clusterQueues(ctx context.Context) (all []queue, packs int64, err error) {
	b, err := n.index.Backlog(ctx)
	return []queue{
		{Name: queuePack, Instances: b.Unplanned, Bytes: b.UnplannedBytes, Oldest: unixTime(b.Quiet)},
		{Name: queueArchive, Instances: b.Planned, Bytes: b.PlannedBytes, Oldest: unixTime(b.Oldest)},
	}, b.Packs, err
}

// queues are those of the node and of all together.
func (n *node) queues(ctx context.Context) (all []queue, packs int64, err error) {
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

// certificate is one that the node shows.
type certificate struct {
	Name   string
	Expiry time.Time
}

// authorityCertificate is the name of the CA's.
const authorityCertificate = "authority"

// certificates are those that the node shows others.
func (n *node) certificates() []certificate {
	if n.cluster == nil {
		return nil
	}
	return []certificate{{"peer", n.cluster.expiry}, {authorityCertificate, n.cluster.authority}}
}

// budget is something that is bounded: how much of it is in use, and the bound.
type budget struct {
	Name        string
	Bytes       bool // they are bytes
	Used, Limit int64
}

// budgets are what bounds the memory that callers and work can cost.
func (n *node) budgets() []budget {
	c := n.config
	held, heldBytes := n.indexer.Held()
	heldMost, heldBytesMost := n.indexer.HeldMost()
	directories := n.reader.Directories()
	all := []budget{
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
	if blocks, ok := n.archives.read.(*cache.Cache); ok {
		s := blocks.Stats()
		all = append(all,
			budget{Name: "cache on disk", Bytes: true, Used: s.Bytes, Limit: int64(c.CacheMax)},
			budget{Name: "fetches into the cache", Used: int64(s.Fetching), Limit: int64(s.FetchingMost)})
	}
	return all
}

// counted is a budget of which some is in use now.
func counted(name string, of func() (now, most int)) budget {
	now, most := of()
	return budget{Name: name, Used: int64(now), Limit: int64(most)}
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
