package dimse

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"sync"

	"github.com/esante-alsace/cigogne/gateway/access"
	"github.com/esante-alsace/cigogne/gateway/dimse/pdu"
	"github.com/esante-alsace/cigogne/gateway/dimse/ul"
	"github.com/esante-alsace/cigogne/storage/trace"
)

// association is one that a Server serves. One goroutine, that of run, reads;
// with an asynchronous window others wait for instances to become durable
// and answer.
type association struct {
	server *Server
	link   *link
	inbox  *inbox
	log    *slog.Logger
	id     string
	who    access.Caller

	contexts map[byte]presentation
	provides map[string]bool // the SOP classes that the peer is an SCP of
	invoker  *invoker        // of what we ask of the peer
	peerPDU  int             // the longest P-DATA-TF that the peer takes, 0 for any
	window   chan struct{}   // holds a token for each operation in flight
	answers  sync.WaitGroup
	underWay underWay   // operations that a C-CANCEL-RQ may end
	span     trace.Span // of the association
	spans    int        // of operations that are below it

	giveUpPlace func() // among the established associations, once
}

// idLength is that of an association's id: 60 bits, enough to be alone in a
// log.
const idLength = 12

func newAssociation(s *Server, c net.Conn) *association {
	id := rand.Text()[:idLength]
	remote := c.RemoteAddr().String()
	l := newLink(newWire(c), false, linkLimits{
		maxPDU: s.cfg.MaxPDULength, maxAssociate: s.cfg.MaxAssociateLength, artim: s.cfg.ARTIM, write: s.cfg.WriteTimeout,
	})
	return &association{
		server: s,
		link:   l,
		inbox:  &inbox{link: l, maxCommand: s.cfg.MaxCommandLength, maxDataSet: s.cfg.MaxDataSetLength},
		log:    s.cfg.Log.With("association", id, "remote", remote),
		id:     id,
		who:    access.Caller{Transport: "dimse", RemoteAddr: remote},
	}
}

// turnAway rejects a connection without reading from it: there are so many
// that not even a request is awaited.
func (a *association) turnAway() {
	defer a.link.wire.hangUp()
	rj := pdu.RejectCongestion()
	a.server.cfg.Metrics.Association(rj.String())
	a.log.Warn("too many connections")
	_ = a.link.write(rj.Append(nil)) // it may be gone already
}

// run serves the association from its first byte to its end.
func (a *association) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer a.link.finish()
	a.link.fire(ul.TransportIndication)
	a.link.wire.allow(a.server.cfg.ARTIM, false)
	// A TLS handshake happens in the first read and writes too.
	_ = a.link.wire.SetWriteDeadline(deadline(a.server.cfg.ARTIM))
	ind, err := a.link.next()
	if err != nil {
		a.server.cfg.Metrics.Association(OutcomeSilent)
		a.log.Info("no association was requested", "reason", err)
		return
	}
	rq := ind.rq
	ctx = a.follow(ctx, rq)
	defer func() { a.span.End() }()
	a.who.CallingAETitle, a.who.CalledAETitle = rq.CallingAETitle, rq.CalledAETitle
	a.log = a.log.With("calling", rq.CallingAETitle, "called", rq.CalledAETitle)
	rj := a.server.admit(ctx, rq, a.who)
	if rj == nil {
		rj = a.server.establish(rq.CallingAETitle)
	}
	if rj != nil {
		a.server.cfg.Metrics.Association(rj.String())
		a.span.Fail(rj.String())
		a.log.Warn("association rejected", "reason", rj.String())
		_ = a.link.request(ul.RejectResponse, rj.Append(nil))
		return
	}
	a.giveUpPlace = sync.OnceFunc(func() { a.server.release(rq.CallingAETitle) })
	defer a.giveUpPlace() // and not only after finish
	a.serve(ctx, rq)
}

// serve accepts the association and serves it until it is over.
func (a *association) serve(ctx context.Context, rq *pdu.AssociateRQ) {
	cfg := &a.server.cfg
	ac, contexts, window := a.server.accept(rq)
	a.contexts, a.window = contexts, make(chan struct{}, window)
	a.peerPDU = int(rq.User.MaxPDULength)
	a.provides = map[string]bool{}
	for _, r := range ac.User.Roles {
		a.provides[r.SOPClassUID] = r.SCP
	}
	a.invoker = newInvoker(1)
	if w := ac.User.AsyncWindow; w != nil {
		a.invoker = newInvoker(int(w.MaxOperationsPerformed))
	}
	b, err := ac.Append(nil)
	if err == nil {
		a.link.in.Grow(bufferLength(cfg.MaxPDULength))
		a.link.wire.allow(cfg.Idle, true)
		err = a.link.request(ul.AcceptResponse, b)
	}
	cfg.Metrics.Association(OutcomeAccepted)
	a.log.Info("association accepted", "contexts", len(contexts), "window", window,
		"implementation", rq.User.ImplementationVersionName)
	if err == nil {
		err = a.messages(ctx)
	}
	a.end(err)
	a.underWay.end()
	a.answers.Wait()
	how := outcome(err)
	cfg.Metrics.Association(how)
	a.span.Text("outcome", how)
	if err != nil {
		a.span.Fail(how)
		a.log.Warn("association ended", "how", how, "reason", err)
		return
	}
	a.log.Info("association ended", "how", how)
}

// end tells the peer when it is we who end the association.
func (a *association) end(err error) {
	switch {
	case err == nil:
	case errors.Is(err, errStopped):
		a.link.abort(pdu.Abort{Source: pdu.AbortServiceProvider, Reason: pdu.ReasonNotSpecified})
	default: // it is over already, or the user aborts
		a.link.abort(pdu.Abort{Source: pdu.AbortServiceUser})
	}
}

// messages serves messages until the association is released, which is nil,
// or fails.
func (a *association) messages(ctx context.Context) error {
	for {
		m, ind, err := a.inbox.next()
		switch {
		case errors.Is(err, ErrIdle) && len(a.window) > 0 && a.inbox.betweenMessages():
			a.link.wire.allow(a.server.cfg.Idle, true)
			continue // it is we who owe an answer
		case err != nil:
			return err
		case ind != nil:
			a.underWay.end()
			a.answers.Wait()
			a.giveUpPlace() // the peer may ask for the next association as soon as it is answered
			return a.link.request(ul.ReleaseResponse, pdu.AppendReleaseRP(nil))
		}
		if err := a.perform(ctx, m); err != nil {
			return err
		}
	}
}
