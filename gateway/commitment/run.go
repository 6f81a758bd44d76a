package commitment

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

const (
	passEvery = time.Second
	openList  = 100 // requests that are taken up at once
	// A request is looked at again after a part of its age, and in these bounds.
	againPart = 4
	againMost = 5 * time.Minute
	// recentPacks is in how many packs an instance is looked for that lies in
	// no journal; allPacks is before it is called unknown.
	recentPacks = 2_000
	allPacks    = 1 << 40
	tellAtOnce  = 4 // each holds its report in memory
	tellTime    = 2 * time.Minute
	endTime     = 10 * time.Second
	indexedTime = 10 * time.Second
	whyMost     = 500 // bytes
)

// look is what Run remembers of a request that waits. It costs another look
// when it is lost.
type look struct {
	next    time.Time
	studies []string
	unknown bool // some of it was not found the last time
}

// Run settles what is asked for, and tells the askers, until ctx ends. It
// returns when nobody is being told any more.
func (c *Committer) Run(ctx context.Context) error {
	defer c.Wait()
	tick := time.NewTicker(passEvery)
	defer tick.Stop()
	for {
		if err := c.Pass(ctx); err != nil && ctx.Err() == nil {
			c.o.Logger.Warn("requests for storage commitment cannot be looked at, will try again", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// Wait returns when nobody is being told.
func (c *Committer) Wait() { c.telling.all.Wait() }

// telling are the peers that are being told.
type telling struct {
	mu    sync.Mutex
	peers map[string]bool // by AE title
	all   sync.WaitGroup
}

// begin takes a place for a peer; false when there is none, or it is being told
// something already. Who does not answer so delays nobody else.
func (t *telling) begin(title string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.peers[title] || len(t.peers) >= tellAtOnce {
		return false
	}
	if t.peers == nil {
		t.peers = map[string]bool{}
	}
	t.peers[title] = true
	return true
}

func (t *telling) end(title string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.peers, title)
}

// Pass settles what can be, and begins to tell whose turn it is: they are told
// after it has returned. That a peer is not reached is entered in the index, and
// is no error.
func (c *Committer) Pass(ctx context.Context) error {
	open := map[index.CommitmentID]bool{}
	deep := true // one request in a pass may look through all packs
	for after := int64(0); ctx.Err() == nil; {
		list, err := c.o.Index.Commitments(ctx, after, openList)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			maps.DeleteFunc(c.seen, func(id index.CommitmentID, _ *look) bool { return !open[id] })
			return nil
		}
		for i := range list {
			e := &list[i]
			after, open[e.CommitmentID] = e.Sequence, true
			if e.State == index.CommitmentSettled {
				c.begin(ctx, e)
			} else if err := c.consider(ctx, e, &deep); err != nil {
				return fmt.Errorf("transaction %s: %w", e.TransactionUID, err)
			}
		}
	}
	return ctx.Err()
}

// begin begins to tell an asker, if it is due and there is room.
func (c *Committer) begin(ctx context.Context, e *index.CommitmentEntry) {
	if e.Due > c.o.Now().UnixNano() || !c.telling.begin(e.CallingAETitle) {
		return
	}
	c.telling.all.Go(func() {
		defer c.telling.end(e.CallingAETitle)
		if err := c.tell(ctx, e.CommitmentID); err != nil && ctx.Err() == nil {
			c.o.Logger.Warn("what became of a report cannot be entered, it will be sent again", "transaction", e.TransactionUID, "error", err)
		}
	})
}

// consider settles a request when all of it is decided, or its time is over.
// What is unknown is decided by a look through all packs; who has to wait for
// that costs nothing meanwhile.
func (c *Committer) consider(ctx context.Context, e *index.CommitmentEntry, deep *bool) error {
	now, known := c.o.Now(), c.lastLook(e.CommitmentID)
	if now.Before(known.next) {
		return nil
	}
	age := now.Sub(time.Unix(0, e.At))
	over, late, packs := age >= c.o.Wait, age >= c.o.Unknown, recentPacks
	if late && known.unknown {
		if !*deep {
			return nil
		}
		if *deep = false; !over && c.behind(ctx) {
			return nil
		}
		packs = allPacks
	}
	known.next = now.Add(c.again(age))
	j, err := c.judge(ctx, e, known.studies, packs)
	if err != nil {
		return err
	}
	known.studies, known.unknown = j.studies, j.count(unknown) > 0
	switch {
	case known.unknown && late && packs != allPacks:
		known.next = now
		return nil
	case !over && (j.count(waiting) > 0 || known.unknown && !late):
		return nil
	}
	return c.settle(ctx, e, j)
}

// lastLook is what is remembered of a request.
func (c *Committer) lastLook(id index.CommitmentID) *look {
	known := c.seen[id]
	if known == nil {
		known = &look{}
		c.seen[id] = known
	}
	return known
}

// behind tells whether the index lacks what was acknowledged here.
func (c *Committer) behind(ctx context.Context) bool { return c.indexed(ctx) != nil }

// again is when a request of an age is looked at again: not later than when
// something of it is decided by its age alone.
func (c *Committer) again(age time.Duration) time.Duration {
	d := min(max(age/againPart, passEvery), againMost)
	for _, decided := range []time.Duration{c.o.Unknown, c.o.Wait} {
		if age < decided {
			d = min(d, decided-age)
		}
	}
	return d
}

// settle decides a request. That studies are complete is said before: it can be
// said again.
func (c *Committer) settle(ctx context.Context, e *index.CommitmentEntry, j *judgement) error {
	for _, study := range j.whole {
		if err := c.o.Complete(ctx, study, e.CallingAETitle); err != nil {
			c.o.Logger.Warn("a study that is committed is not called complete", "study", study, "error", err)
		}
	}
	failed := j.failures()
	step := index.Commitment{ID: e.CommitmentID, Step: index.SettleCommitment, Failed: failed, Committed: j.committed}
	if err := c.propose(ctx, step); err != nil {
		return err
	}
	outcome := AllCommitted
	if len(failed) > 0 {
		outcome = SomeFailed
	}
	c.o.Count(outcome)
	c.o.Logger.Info("storage commitment is settled", "transaction", e.TransactionUID, "calling", e.CallingAETitle,
		"instances", e.References, "failed", len(failed), "reason", j.why)
	return nil
}

// tell tells an asker what came of its request, unless that was done since it
// was its turn.
func (c *Committer) tell(ctx context.Context, id index.CommitmentID) error {
	e, err := c.o.Index.Commitment(ctx, id)
	if err != nil || e == nil || e.State != index.CommitmentSettled || e.Due > c.o.Now().UnixNano() {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	err = c.report(bounded, e)
	if ctx.Err() != nil && err != nil {
		return ctx.Err() // it is not the peer's doing
	}
	step := index.Commitment{ID: e.CommitmentID, Step: index.EndCommitment}
	now := c.o.Now()
	attrs := []any{"transaction", e.TransactionUID, "calling", e.CallingAETitle, "attempts", e.Attempts + 1}
	switch {
	case err == nil:
		c.o.Count(Told)
		c.o.Logger.Info("storage commitment is reported", attrs...)
	case now.Sub(time.Unix(0, e.Settled)) >= c.o.Tell:
		c.o.Count(GivenUp)
		c.o.Logger.Warn("nobody takes the report of a storage commitment: it is given up", append(attrs, "error", err)...)
	default:
		c.o.Count(NotTold)
		c.o.Logger.Warn("a storage commitment is not reported, will try again", append(attrs, "error", err)...)
		step.Step, step.Why, step.Due = index.DelayCommitment, clip(err.Error()), now.Add(gateway.Backoff(e.Attempts)).UnixNano()
	}
	// What the peer was told is entered though the node is stopping.
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer cancel()
	return c.propose(ending, step)
}

// report sends the report.
func (c *Committer) report(ctx context.Context, e *index.CommitmentEntry) error {
	to := Peer{Address: c.o.Sites.Address(e.CallingAETitle), AETitle: e.CallingAETitle, CalledAETitle: e.Origin.CalledAETitle}
	if to.Address == "" {
		return fmt.Errorf("%w: no address of AE title %q", storage.ErrUnsupported, e.CallingAETitle)
	}
	asked, failed, err := c.o.Index.CommitmentLists(ctx, e.CommitmentID)
	if err != nil {
		return err
	}
	r := Report{TransactionUID: e.TransactionUID}
	for i, reference := range flat(asked) {
		if len(failed) > 0 && failed[0].Reference == i {
			r.Failed = append(r.Failed, Failure{reference, Reason(failed[0].Reason)})
			failed = failed[1:]
		} else {
			r.Committed = append(r.Committed, reference)
		}
	}
	return c.o.Reporter.Report(ctx, to, r)
}

func (c *Committer) propose(ctx context.Context, step index.Commitment) error {
	return c.o.Proposer.Propose(ctx, index.Batch{Commitments: []index.Commitment{step}})
}

// clip cuts what a peer or the system said, and no character of it in two.
func clip(s string) string { return strings.ToValidUTF8(s[:min(len(s), whyMost)], "") }
