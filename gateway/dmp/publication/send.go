package publication

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/dmp/manifest"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// SenderOptions say where the shared record is, and how it is spoken to.
type SenderOptions struct {
	// Endpoint is the FHIR base to which transactions are posted.
	Endpoint string
	// Token, when set, is the bearer token of a request.
	Token func() (string, error)
	Codes manifest.Codes
	// TLS is how the other side is known, and who we are to it; nil trusts the
	// system's authorities and shows no certificate.
	TLS *tls.Config
	// Timeout bounds one delivery; 0 means 30 s. Who takes over a delivery of
	// another waits for twice that time.
	Timeout time.Duration
	// Parallel is how many are sent at a time; 0 means 4.
	Parallel int
	// Every is the time between two looks; 0 means 1 s.
	Every time.Duration
	// Sent, when set, is told of each delivery what came of it.
	Sent func(act index.DeliveryAct, result index.DeliveryResult, took time.Duration)
}

const (
	defaultTimeout  = 30 * time.Second
	defaultParallel = 4
	outgoingList    = 100
	endTimeout      = 10 * time.Second
	whyMost         = 500 // bytes
)

// Sender brings to the shared record what the outbox has. Each delivery is
// begun and ended in the index: two nodes never send of one study at the same
// time, and none begins for who may not be there.
type Sender struct {
	p      *Publisher
	o      SenderOptions
	client poster

	mu   sync.Mutex
	own  map[string]bool      // tokens that were begun here: true while it is sent
	seen map[string]time.Time // others', and when they were seen first
}

// NewSender returns a Sender; Run sets it to work on one node of a cluster at a
// time.
func (p *Publisher) NewSender(o SenderOptions) *Sender {
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.Parallel <= 0 {
		o.Parallel = defaultParallel
	}
	if o.Every <= 0 {
		o.Every = passEvery
	}
	if o.Sent == nil {
		o.Sent = func(index.DeliveryAct, index.DeliveryResult, time.Duration) {}
	}
	return &Sender{p: p, o: o, client: newPoster(o), own: map[string]bool{}, seen: map[string]time.Time{}}
}

// Run sends until ctx ends, and returns when nothing is being sent any more.
func (s *Sender) Run(ctx context.Context) error {
	tick := time.NewTicker(s.o.Every)
	defer tick.Stop()
	for {
		if err := s.Pass(ctx); err != nil && ctx.Err() == nil {
			s.p.o.Logger.Warn("the outbox of publications cannot be looked at, will try again", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// Pass sends what is due. What the shared record does not take is entered in
// the outbox, and is no error.
func (s *Sender) Pass(ctx context.Context) error {
	until := s.p.o.Now().UnixNano()
	var after *index.Outgoing
	underway := map[string]bool{}
	for ctx.Err() == nil {
		due, err := s.p.o.Index.Outgoing(ctx, until, after, outgoingList)
		if err == nil && len(due) == 0 {
			s.forget(underway)
		}
		if err != nil || len(due) == 0 {
			return err
		}
		for i := range due {
			if u := due[i].Publication.Underway; u != nil {
				underway[u.Token] = true
			}
		}
		var work errgroup.Group
		work.SetLimit(s.o.Parallel)
		for i := range due {
			work.Go(func() error { return s.deliver(ctx, &due[i]) })
		}
		if err := work.Wait(); err != nil {
			return err
		}
		after = &due[len(due)-1]
	}
	return ctx.Err()
}

// deliver does what is next for a study.
func (s *Sender) deliver(ctx context.Context, out *index.Outgoing) error {
	d := index.Delivery{StudyInstanceUID: out.StudyInstanceUID, Step: index.BeginDelivery, Token: rand.Text(), Act: out.Next.Act}
	if u := out.Publication.Underway; u != nil {
		if !s.over(u.Token) {
			return nil
		}
		d.Before = u.Token
	}
	if d.Act != index.NoAct {
		d.SOPInstanceUID = out.Next.Manifest.SOPInstanceUID
	}
	s.begin(d.Token)
	defer s.end(d.Token)
	// The time is counted from before anybody can know of the delivery: who
	// would take it over waits longer, from when they know.
	began := time.Now()
	sending, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	if err := s.propose(sending, d); err != nil {
		return err
	}
	now, err := s.p.o.Index.Publication(sending, d.StudyInstanceUID)
	if err != nil || now == nil {
		return err
	}
	u := now.Publication.Underway
	if u == nil || u.Token != d.Token {
		return nil // there was nothing to do, or something else by now
	}
	result, why, wait := s.send(sending, d.StudyInstanceUID, u)
	s.o.Sent(u.Act, result, time.Since(began))
	if result != index.Delivered {
		s.p.o.Logger.Warn("the shared record does not take a manifest", "study", d.StudyInstanceUID, "act", u.Act, "attempts", now.Publication.Attempts+1, "error", why)
	}
	d.Step, d.Result, d.Why = index.EndDelivery, result, clip(why)
	d.Due = s.p.o.Now().Add(max(wait, gateway.Backoff(now.Publication.Attempts))).UnixNano()
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	return s.propose(ending, d)
}

func (s *Sender) propose(ctx context.Context, d index.Delivery) error {
	return s.p.o.Proposer.Propose(ctx, index.Batch{Outbox: []index.Delivery{d}})
}

// send builds what is to be sent and sends it.
func (s *Sender) send(ctx context.Context, study string, u *index.Underway) (_ index.DeliveryResult, why string, wait time.Duration) {
	body, err := s.bundle(ctx, study, u)
	switch {
	case errors.Is(err, storage.ErrInvalid) || errors.Is(err, storage.ErrTooLarge):
		return index.DeliveryRefused, err.Error(), 0
	case err != nil:
		return index.NotDelivered, err.Error(), 0
	}
	return s.client.post(ctx, u.Act, body)
}

// errOvertaken says that what was begun is not to be done any more.
var errOvertaken = fmt.Errorf("%w: the study or its patient has changed meanwhile", storage.ErrUnavailable)

// bundle is the transaction that does it.
func (s *Sender) bundle(ctx context.Context, study string, u *index.Underway) ([]byte, error) {
	if u.Act == index.Withdraw {
		return manifest.Withdrawal(u.Manifest.SOPInstanceUID, time.Unix(0, u.At).UTC())
	}
	c, err := s.p.content(ctx, study)
	if err != nil {
		return nil, err
	}
	if !c.manifested() || c.number() != u.Manifest.Number {
		return nil, errOvertaken
	}
	kos, err := s.p.file(ctx, study, u.Manifest.SOPInstanceUID)
	if err != nil {
		return nil, err
	}
	m := s.p.manifest(c, u.Manifest)
	if u.Replaces != nil {
		m.Replaces = u.Replaces.SOPInstanceUID
	}
	body, err := m.Submission(kos, s.o.Codes)
	if err != nil {
		return nil, err
	}
	// It took some time: an opposition or the end of a link that came meanwhile
	// counts.
	now, err := s.p.o.Index.Publication(ctx, study)
	if err == nil && (now == nil || now.Open || now.Content != c.digest || now.Next.Act == index.Withdraw) {
		err = errOvertaken
	}
	return body, err
}

func (s *Sender) begin(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.own[token] = true
}

func (s *Sender) end(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.own[token] = false
}

// forget drops what was noted of deliveries that are over, by the index's word.
func (s *Sender) forget(underway map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.own, func(token string, sending bool) bool { return !sending && !underway[token] })
	maps.DeleteFunc(s.seen, func(token string, _ time.Time) bool { return !underway[token] })
}

// over tells whether a delivery that was begun is certainly not being sent any
// more: one of this node that ended, or one that this node has known for longer
// than it may take. No clock of another node is trusted.
func (s *Sender) over(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sending, own := s.own[token]; own {
		return !sending
	}
	first, known := s.seen[token]
	if !known {
		s.seen[token] = time.Now()
		return false
	}
	return time.Since(first) > 2*s.o.Timeout
}

// clip cuts what a server or the system said, and no character of it in two.
func clip(s string) string { return strings.ToValidUTF8(s[:min(len(s), whyMost)], "") }
