package commitment

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// Retriever locates instances.
type Retriever interface {
	// Instances is storage.ErrNotFound when nothing is selected.
	Instances(ctx context.Context, sel gateway.Selector) ([]gateway.Instance, error)
}

// Peer is who is to be told.
type Peer struct {
	Address       string // HOST:PORT
	AETitle       string
	CalledAETitle string // the AE title by which the peer knows us
}

// Reporter tells peers.
type Reporter interface {
	// Report returns nil when the peer says that it knows.
	Report(ctx context.Context, to Peer, r Report) error
}

// Outcome is what became of a request, or of telling its asker.
type Outcome string

// The outcomes.
const (
	Asked        Outcome = "asked"
	AllCommitted Outcome = "committed"
	SomeFailed   Outcome = "failed"
	Told         Outcome = "reported"
	NotTold      Outcome = "report failed"
	GivenUp      Outcome = "given up"
)

// Options are the parts and the settings of a Committer.
type Options struct {
	Index    *index.Index
	Proposer gateway.Proposer
	Retrieve Retriever
	Sites    *gateway.Sites
	Reporter Reporter
	// Archives are the names of those that count, and Copies on how many an
	// instance must lie.
	Archives []string
	Copies   int
	// Wait is how long instances may take to be archived, before their
	// commitment fails. Unknown is how long after the request an instance that
	// is not there may still come. Tell is how long a peer may take to be
	// reachable.
	Wait, Unknown, Tell time.Duration
	// Indexed, when set, returns when the index has all that this node
	// acknowledged before: what an asker sent last may be kept aside. While it
	// fails, nothing is called unknown.
	Indexed func(ctx context.Context) error
	// Complete, when set, is told of a study all of whose instances were
	// committed for one request, and for whom.
	Complete func(ctx context.Context, study, by string) error
	// Count, when set, is told what happens.
	Count  func(Outcome)
	Logger *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Committer is the use case. Ask may be called on any node; Run is for one node
// of a cluster at a time.
type Committer struct {
	o       Options
	seen    map[index.CommitmentID]*look // of Run
	telling telling
}

// New returns a Committer.
func New(o Options) *Committer {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Count == nil {
		o.Count = func(Outcome) {}
	}
	if o.Complete == nil {
		o.Complete = func(context.Context, string, string) error { return nil }
	}
	return &Committer{o: o, seen: map[index.CommitmentID]*look{}}
}

// Ask takes a request. It returns nil when it is durable, as the cluster
// understands that: from then on it will be settled, and its asker told. The
// same request again is no failure; another one of an open TransactionUID is
// storage.ErrConflict. storage.ErrForbidden: the asker is of no site.
// storage.ErrUnsupported: nobody knows where its AE title listens.
// storage.ErrFull: too many requests are open. storage.ErrUnavailable: the index
// is behind what its asker may have sent just now.
func (c *Committer) Ask(ctx context.Context, rq Request) (err error) {
	if rq.Origin.Sender, err = c.o.Sites.SenderOf(rq.Origin); err != nil {
		return err
	}
	id := index.CommitmentID{CallingAETitle: rq.Origin.CallingAETitle, TransactionUID: rq.TransactionUID}
	if c.o.Sites.Address(id.CallingAETitle) == "" {
		return fmt.Errorf("%w: no address of AE title %q", storage.ErrUnsupported, id.CallingAETitle)
	}
	if err := c.indexed(ctx); err != nil {
		return err
	}
	asked := byClass(rq.References)
	b := index.Batch{Commitments: []index.Commitment{{ID: id, Step: index.AskCommitment, Origin: rq.Origin, Asked: asked}}}
	if err := b.Validate(); err != nil {
		return err
	}
	if err := c.o.Proposer.Propose(ctx, b); err != nil {
		return err
	}
	if err := c.o.Index.Sync(ctx); err != nil {
		return err
	}
	e, err := c.o.Index.Commitment(ctx, id)
	switch {
	case err != nil:
		return err
	case e == nil, e.State == index.CommitmentEnded:
		return fmt.Errorf("%w: requests for storage commitment", storage.ErrFull)
	case e.Digest != index.AskedDigest(asked):
		return fmt.Errorf("%w: transaction %s", storage.ErrConflict, id.TransactionUID)
	}
	c.o.Count(Asked)
	return nil
}

// indexed waits for the index, for some time.
func (c *Committer) indexed(ctx context.Context) error {
	if c.o.Indexed == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, indexedTime)
	defer cancel()
	return c.o.Indexed(ctx)
}

// byClass are references as the index keeps them, none twice.
func byClass(references []Reference) (asked []index.ClassInstances) {
	at, seen := map[string]int{}, make(map[Reference]bool, len(references))
	for _, r := range references {
		if seen[r] {
			continue
		}
		seen[r] = true
		i, known := at[r.SOPClassUID]
		if !known {
			i = len(asked)
			at[r.SOPClassUID] = i
			asked = append(asked, index.ClassInstances{SOPClassUID: r.SOPClassUID})
		}
		asked[i].SOPs = append(asked[i].SOPs, r.SOPInstanceUID)
	}
	return asked
}

// flat are the references of a request by their number.
func flat(asked []index.ClassInstances) (references []Reference) {
	for _, class := range asked {
		for _, sop := range class.SOPs {
			references = append(references, Reference{class.SOPClassUID, sop})
		}
	}
	return references
}

// copies is on how many archives that count a pack lies: with a checksum that
// was confirmed, which those that a rebuild has found get when they are verified.
func (c *Committer) copies(p *index.Pack) (n int) {
	for _, copied := range p.Copies {
		if copied.CRC32C != 0 && slices.Contains(c.o.Archives, copied.Archive) {
			n++
		}
	}
	return n
}
