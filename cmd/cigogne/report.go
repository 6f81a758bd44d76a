package main

import (
	"context"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esante-alsace/cigogne/cmd/cigogne/disk"
	"github.com/esante-alsace/cigogne/gateway/rpc"
	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
	"github.com/esante-alsace/cigogne/storage/archive/set"
)

// report is how the node fares, as the API tells it.
type report struct {
	*node
	started time.Time

	verifying sync.Mutex // held while packs are verified for somebody

	mu    sync.Mutex
	since map[string]spell // by the check's name
}

// spell is since when a check has been as it is.
type spell struct {
	well bool
	at   time.Time
}

func newReport(n *node) *report {
	return &report{node: n, started: time.Now(), since: map[string]spell{}}
}

// checkTime is how often the checks are made when nobody asks.
const checkTime = 15 * time.Second

// run makes the checks until ctx ends, so that it is known since when one
// fails.
func (r *report) run(ctx context.Context) error {
	beat := time.NewTicker(checkTime)
	defer beat.Stop()
	for {
		r.Checks(ctx)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-beat.C:
		}
	}
}

// Name implements rpc.Node.
func (r *report) Name() string { return r.name() }

// Checks implements rpc.Node.
func (r *report) Checks(ctx context.Context) []rpc.Check {
	checks := r.ready(ctx)
	if ctx.Err() != nil { // they failed for want of time, or the node stops
		return checks
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range checks {
		c := &checks[i]
		known, ok := r.since[c.Name]
		if well := c.Err == nil; !ok || known.well != well {
			known = spell{well, time.Now()}
			r.since[c.Name] = known
		}
		c.Since = known.at
	}
	return checks
}

// Status implements rpc.Node.
func (r *report) Status(ctx context.Context) (*pb.NodeStatus, error) {
	held, err := r.index.Counts(ctx)
	if err != nil {
		return nil, err
	}
	size, free := disk.Space(r.config.journalDir())
	journal := r.journal.Stats()
	return &pb.NodeStatus{
		Name: r.Name(), Version: version(), Started: timestamppb.New(r.started),
		Disk: &pb.DiskStatus{Size: size, Free: free},
		Journal: &pb.JournalStatus{
			JournalId: r.journal.ID(), Bytes: journal.Bytes, MaxBytes: int64(r.config.JournalMax), Segments: int64(journal.Segments),
		},
		Index: &pb.IndexStatus{
			Studies: held.Studies, Series: held.Series, Instances: held.Instances, LiveInstances: held.Live, LiveBytes: held.LiveBytes,
			PlannedPacks: held.Planned, Packs: held.Packs, Conflicts: held.Conflicts, Behind: r.indexer.Lag(),
		},
	}, nil
}

// Archives implements rpc.Node.
func (r *report) Archives(ctx context.Context) []*pb.Archive {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	all := make([]*pb.Archive, len(r.archives.Each))
	var asked sync.WaitGroup
	for i, one := range r.archives.Each {
		asked.Go(func() {
			all[i] = &pb.Archive{Name: one.String(), Reachable: true}
			if err := one.Check(ctx); err != nil {
				all[i].Reachable, all[i].Why = false, err.Error()
			}
		})
	}
	asked.Wait()
	if several, ok := r.archives.Archive.(*set.Set); ok {
		for i, h := range several.Health() {
			all[i].Failures = int64(h.Failures)
			if h.Resting.After(time.Now()) {
				all[i].RestingUntil = timestamppb.New(h.Resting)
			}
		}
	}
	return all
}
