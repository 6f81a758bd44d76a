package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/commitment"
	"github.com/esante-alsace/cigogne/gateway/dimse"
	"github.com/esante-alsace/cigogne/gateway/dmp/publication"
)

// committing says how long storage commitment may take.
type committing struct {
	CommitmentWait   time.Duration `default:"24h" help:"How long instances may take to be archived before their storage commitment fails (${default})."`
	CommitmentSettle time.Duration `default:"1m" help:"How long after it is asked for an instance that is not there may still come (${default})."`
	CommitmentReport time.Duration `default:"168h" help:"How long who asked may take to be reachable for the report (${default})."`
}

// commitmentMost bounds how long a request stays.
const commitmentMost = 90 * 24 * time.Hour

// check refuses what flags alone cannot refuse.
func (c *committing) check() error {
	for _, d := range []struct {
		flag string
		is   time.Duration
		most time.Duration
	}{
		{"commitment-wait", c.CommitmentWait, commitmentMost},
		{"commitment-settle", c.CommitmentSettle, c.CommitmentWait},
		{"commitment-report", c.CommitmentReport, commitmentMost},
	} {
		if d.is <= 0 || d.is > d.most {
			return fmt.Errorf("%w: --%s %s: more than 0, and at most %s", errUsage, d.flag, d.is, d.most)
		}
	}
	return nil
}

// wireCommitment makes who answers for storage commitment.
func (n *node) wireCommitment() {
	c := n.config
	o := commitment.Options{
		Index: n.index, Proposer: n.proposer, Retrieve: n.reader, Sites: n.sites,
		Reporter: dimse.Reporter{ARTIM: c.ARTIM}, Copies: c.ArchiveCopies,
		Wait: c.CommitmentWait, Unknown: c.CommitmentSettle, Tell: c.CommitmentReport,
		Complete: func(ctx context.Context, study, by string) error {
			_, err := n.publication.CompleteBy(ctx, study, publication.Commitment, by)
			return err
		},
		Indexed: n.indexer.AwaitOwn,
		Count:   n.metrics.Committed, Logger: n.log,
	}
	for _, a := range n.archives.Each {
		o.Archives = append(o.Archives, a.String())
	}
	if o.Copies == 0 {
		o.Copies = min(2, len(o.Archives)) // as the set has it
	}
	n.committer = commitment.New(o)
}

// commitments is who takes requests for storage commitment; nil where nobody
// could be told what came of one.
func (n *node) commitments() dimse.Committer {
	if !slices.ContainsFunc(n.sites.List(), func(s gateway.Site) bool { return len(s.Addresses) > 0 }) {
		return nil
	}
	return n.committer
}
