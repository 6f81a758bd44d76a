package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/dustin/go-humanize/english"
	"github.com/klauspost/compress/gzhttp"

	"github.com/esante-alsace/cigogne/cmd/cigogne/metrics"
	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/ops"
	"github.com/esante-alsace/cigogne/gateway/rpc"
	"github.com/esante-alsace/cigogne/storage/archive/set"
	"github.com/esante-alsace/cigogne/storage/index"
)

// oversight is the operators' page and what it is made of.
type oversight struct {
	desk  *ops.Desk
	ops   http.Handler
	given *given
}

// wireOversight makes the page, and lets other nodes ask for this node's
// report; the use cases are there.
func (n *node) wireOversight() error {
	n.given = &given{next: n.sent}
	var peers ops.Peers
	if n.cluster != nil {
		peers = ops.Remote{Others: n.otherNodes, Client: n.clientOf}
	}
	n.desk = ops.NewDesk(opsSelf{n}, peers)
	page, err := ops.Handler(n.desk, n.log)
	if err != nil {
		return err
	}
	n.ops = gzhttp.GzipHandler(page)
	if n.cluster != nil {
		n.cluster.calls.Handle(ops.ReportPath, ops.ReportHandler(n.desk))
	}
	return nil
}

// given counts the bytes that the API gives; DICOMweb's are in the metrics.
type given struct {
	next  rpc.Sent
	bytes atomic.Int64
}

// Sent implements rpc.Sent.
func (g *given) Sent(s gateway.Sending) {
	g.bytes.Add(s.Bytes)
	g.next.Sent(s)
}

// opsSelf is this node as the page asks it.
type opsSelf struct{ *node }

// Counters implements ops.Self.
func (s opsSelf) Counters() ops.Counters {
	c := ops.Counters{Sent: s.metrics.Sent() + s.given.bytes.Load()}
	for _, a := range s.arrivals.List() {
		c.Received += a.Bytes
	}
	return c
}

// Report implements ops.Self.
func (s opsSelf) Report() ops.Report {
	disk := s.disk.Now()
	r := ops.Report{
		Node: s.name(), Version: version(), Started: s.report.started,
		Standing: ops.Standing{State: "alone", Associations: s.scp.Load().Established()},
		Journal:  ops.Space{Used: s.journal.Stats().Bytes, Most: int64(s.config.JournalMax), Full: disk.JournalFull},
		Disk:     ops.Space{Used: disk.Size - disk.Free, Most: disk.Size, Full: disk.Full},
		Queues:   s.opsQueues(), Senders: s.opsSenders(),
	}
	if s.cluster != nil {
		c := s.cluster.Status()
		r.Standing = ops.Standing{
			State: c.State, Leader: c.Leader, Term: c.Term, Committed: c.Commit, Applied: c.Applied, Heard: c.Heard,
			Draining: c.Draining, Associations: r.Standing.Associations,
		}
	}
	for _, c := range s.certificates() {
		one := ops.Certificate{Role: "node", Name: s.name(), Expires: c.Expiry}
		if c.Name == metrics.AuthorityCertificate {
			one.Role, one.Name = "authority", "CA"
		}
		r.Certificates = append(r.Certificates, one)
	}
	return r
}

// takeover are the journals that this node has yet to empty.
func (s opsSelf) takeover(ctx context.Context) []ops.Queue {
	if s.copying == nil {
		return nil
	}
	left, err := s.copying.evacuator.Left(ctx)
	if err == nil && len(left) == 0 {
		return nil
	}
	one := ops.Queue{Kind: ops.QueueTakeover, Waiting: int64(len(left)), Failing: text(err)}
	for _, l := range left {
		one.Failing = cmp.Or(one.Failing, text(l.Err))
	}
	return []ops.Queue{one}
}

// opsQueues are the queues of this node that can be told at once.
func (s opsSelf) opsQueues() (all []ops.Queue) {
	for _, q := range s.ownQueues() {
		one := ops.Queue{Kind: ops.QueueIndexing, Waiting: q.Instances, Oldest: q.Oldest}
		why := s.indexer.Failing()
		if q.Name == metrics.QueueCopies {
			one.Kind, why = ops.QueueCopies, s.copying.keeper.Failing()
		}
		if !q.Oldest.IsZero() && q.Instances == 0 {
			one.Waiting = -1 // in the journal, not in memory
		}
		one.Failing = text(why)
		all = append(all, one)
	}
	if err := s.archiver.Failing(); err != nil {
		all = append(all, ops.Queue{Kind: ops.QueueArchiving, Waiting: -1, Failing: err.Error(), Retry: s.archiver.Retry()})
	}
	return all
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// opsSenders are those who sent, and the sites that have not.
func (s opsSelf) opsSenders() (all []ops.Sender) {
	sites := map[string]gateway.Site{}
	for _, site := range s.sites.List() {
		sites[site.Name] = site
	}
	for _, a := range s.arrivals.List() {
		one := ops.Sender{Name: a.Site, Known: a.Known, Last: a.Last, Instances: a.Instances, Bytes: a.Bytes}
		if site, ok := sites[a.Site]; ok {
			one.FINESS, one.By, one.Credentials = site.FINESS, append(one.By, site.CallingAETitles...), len(site.Credentials)
			for _, n := range site.Networks {
				one.By = append(one.By, n.String())
			}
		}
		all = append(all, one)
	}
	return all
}

// Examine implements ops.Self.
func (s opsSelf) Examine(ctx context.Context, r *ops.Report) {
	r.Queues = s.takeover(ctx)
	checks := s.report.Checks(ctx)
	r.Checks = opsChecks(checks)
	for _, c := range checks {
		if c.Name == "archive" {
			r.Archives = s.opsArchives(c.Err)
		}
	}
}

// opsChecks are the checks with what to do about them.
func opsChecks(checks []rpc.Check) (all []ops.Check) {
	for _, c := range checks {
		one := ops.Check{Name: c.Name, Since: c.Since, Why: text(c.Err)}
		if c.Err != nil {
			one.Action = map[string]string{}
			for _, l := range ops.Languages() {
				one.Action[l] = rpc.Action(c.Name, c.Err, l)
			}
		}
		all = append(all, one)
	}
	return all
}

// opsArchives are the archives as they answered when they were checked, which
// costs each of them a request.
func (s opsSelf) opsArchives(checked error) (all []ops.Archive) {
	several, ok := s.archives.Archive.(*set.Set)
	if !ok {
		return []ops.Archive{{Name: s.archives.String(), Reached: checked == nil, Why: text(checked)}}
	}
	for _, h := range several.Health() {
		one := ops.Archive{Name: h.Archive, Reached: h.Failures == 0, Failures: int64(h.Failures)}
		if h.Failures > 0 {
			one.Why = text(h.Err)
		}
		if h.Resting.After(time.Now()) {
			one.Resting = h.Resting
		}
		all = append(all, one)
	}
	return all
}

const (
	// overdueLeast is for how long a study may at least wait for the archive
	// once its series are quiet.
	overdueLeast = 15 * time.Minute
	// shownMost is how many studies and conflicts the page shows.
	shownMost = 20
)

// Region implements ops.Self.
func (s opsSelf) Region(ctx context.Context) (r ops.Region, err error) {
	deletions, err := s.index.CountDeletions(ctx)
	if err != nil {
		return r, err
	}
	outbox, err := s.index.OutboxCounts(ctx)
	if err != nil {
		return r, err
	}
	r.Deleted, r.Holds, r.Refused = deletions.Marked, deletions.Holds, outbox.Refused
	if r.Queues, err = s.regionQueues(ctx, deletions, outbox); err != nil {
		return r, err
	}
	r.OverdueAfter = overdueLeast + s.config.Settle
	late, err := s.index.Overdue(ctx, time.Now().Add(-r.OverdueAfter).UnixNano(), shownMost)
	if err != nil {
		return r, err
	}
	for _, l := range late {
		r.Overdue = append(r.Overdue, ops.Study{
			StudyInstanceUID: l.StudyInstanceUID, Instances: l.Instances, Received: unixTime(l.Received), Planned: l.Planned,
		})
	}
	conflicts, count, err := s.index.NewestConflicts(ctx, shownMost)
	if err != nil {
		return r, err
	}
	r.ConflictCount = count
	for i := range conflicts {
		c := &conflicts[i]
		why := "digest"
		if c.Why == index.WhyPatient {
			why = "patient"
		}
		r.Conflicts = append(r.Conflicts, ops.Conflict{
			SOPInstanceUID: c.Key.SOPInstanceUID, StudyInstanceUID: c.Key.StudyInstanceUID, Why: why, Received: unixTime(c.Received),
			From: cmp.Or(c.Origin.Sender.Info().Name, c.Origin.CallingAETitle, c.Origin.RemoteAddr),
		})
	}
	return r, nil
}

// regionQueues are the queues of all nodes together.
func (s opsSelf) regionQueues(ctx context.Context, deletions index.DeletionStats, outbox index.OutboxCounts) (all []ops.Queue, err error) {
	queues, _, err := s.clusterQueues(ctx)
	if err != nil {
		return nil, err
	}
	for _, q := range queues {
		one := ops.Queue{Kind: ops.QueuePacking, Waiting: q.Instances, Bytes: q.Bytes, Oldest: q.Oldest}
		if q.Name == metrics.QueueArchive {
			one.Kind = ops.QueueArchiving
		}
		all = append(all, one)
	}
	owed, err := s.index.CountOwed(ctx)
	if err != nil {
		return nil, err
	}
	all = append(all, ops.Queue{Kind: ops.QueueManifests, Waiting: owed})
	if outbox.Waiting+outbox.Failing > 0 || s.config.DMPEndpoint != "" {
		one := ops.Queue{Kind: ops.QueuePublication, Waiting: outbox.Waiting + outbox.Failing}
		if outbox.Failing > 0 { // what the record says of it may name a patient
			one.Oldest = unixTime(outbox.Oldest)
			one.Failing = fmt.Sprintf("%d not taken, see 'cigogne publications list'", outbox.Failing)
		}
		all = append(all, one)
	}
	commitments, err := s.index.CommitmentCounts(ctx)
	if err != nil {
		return nil, err
	}
	if open := commitments.Waiting + commitments.Reporting; open > 0 {
		one := ops.Queue{Kind: ops.QueueCommitment, Waiting: open, Oldest: unixTime(commitments.Oldest)}
		if commitments.Failing > 0 { // what the peers said of it is in the log
			one.Failing = english.Plural(int(commitments.Failing), "report", "") + " not taken by who asked"
		}
		all = append(all, one)
	}
	if deletions.Decided > 0 {
		all = append(all, ops.Queue{
			Kind: ops.QueueDeletion, Waiting: deletions.Decided, Oldest: unixTime(deletions.Began), Failing: text(s.sweeper.Failing()),
		})
	}
	return all, nil
}
