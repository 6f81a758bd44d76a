package dimse

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/esante-alsace/cigogne/gateway/dimse/pdu"
	"github.com/esante-alsace/cigogne/gateway/dimse/ul"
)

// SCUConfig is what Dial needs. Zero numbers and durations have the default
// that stands beside them.
type SCUConfig struct {
	CallingAETitle string // default CIGOGNE
	CalledAETitle  string // default ANY-SCP
	// Contexts are proposed in this order: at most pdu.MaxContexts.
	Contexts []ProposedContext
	// AsyncWindow is the number of operations in flight that is asked for: 0
	// negotiates none, so that there is one at a time.
	AsyncWindow  int
	MaxPDULength int // default 128 KiB
	Identity     *pdu.UserIdentity

	ARTIM time.Duration // to be answered A-ASSOCIATE and A-RELEASE: default 30 s
	// ResponseTimeout bounds the wait for a response, after which the
	// association is aborted: default 5 min.
	ResponseTimeout time.Duration
	WriteTimeout    time.Duration // of one PDU: default 60 s
	// Dialer opens the connection: default a net.Dialer. TLS is one of
	// crypto/tls.
	Dialer interface {
		DialContext(ctx context.Context, network, address string) (net.Conn, error)
	}
}

// ProposedContext is a presentation context to be proposed.
type ProposedContext struct {
	AbstractSyntax   string
	TransferSyntaxes []string
	// Provider says that we are its SCP, and the peer the SCU (PS3.7
	// §D.3.3.4). It is not accepted by a peer that wants it otherwise.
	Provider bool
}

func (c SCUConfig) withDefaults() SCUConfig {
	c.CallingAETitle = cmp.Or(c.CallingAETitle, "CIGOGNE")
	c.CalledAETitle = cmp.Or(c.CalledAETitle, "ANY-SCP")
	c.MaxPDULength = max(cmp.Or(c.MaxPDULength, 128<<10), 4<<10)
	c.ARTIM = cmp.Or(c.ARTIM, 30*time.Second)
	c.ResponseTimeout = cmp.Or(c.ResponseTimeout, 5*time.Minute)
	c.WriteTimeout = cmp.Or(c.WriteTimeout, time.Minute)
	if c.Dialer == nil {
		c.Dialer = &net.Dialer{}
	}
	return c
}

// Association is one that was asked for from this side. Its methods may be
// called by many goroutines; it must be ended with Release or Abort.
type Association struct {
	cfg      SCUConfig
	link     *link
	inbox    *inbox
	contexts map[byte]presentation
	peerPDU  int // the longest P-DATA-TF that the peer takes
	invoker  *invoker

	ended chan struct{} // closed when nothing more will be received
	err   error         // why; set before ended is closed; nil after a release
}

// Dial opens an association. A peer that does not want it is a
// *RejectedError.
func Dial(ctx context.Context, addr string, cfg SCUConfig) (*Association, error) {
	cfg = cfg.withDefaults()
	rq, err := cfg.request().Append(nil)
	if err != nil {
		return nil, err
	}
	conn, err := cfg.Dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLost, err)
	}
	l := newLink(newWire(conn), true, linkLimits{
		maxPDU: cfg.MaxPDULength, maxAssociate: 1 << 20, artim: cfg.ARTIM, write: cfg.WriteTimeout,
	})
	a := &Association{
		cfg: cfg, link: l, contexts: map[byte]presentation{},
		inbox: &inbox{link: l, maxCommand: 64 << 10, maxDataSet: 64 << 20}, ended: make(chan struct{}),
	}
	if err := a.associate(ctx, rq); err != nil {
		l.wire.hangUp()
		return nil, err
	}
	go a.receive()
	return a, nil
}

func (c *SCUConfig) request() *pdu.AssociateRQ {
	rq := &pdu.AssociateRQ{
		ProtocolVersion:        pdu.ProtocolVersion,
		CalledAETitle:          c.CalledAETitle,
		CallingAETitle:         c.CallingAETitle,
		ApplicationContextName: pdu.ApplicationContextName,
		User: pdu.UserInformation{
			MaxPDULength:              uint32(c.MaxPDULength),
			ImplementationClassUID:    ImplementationClassUID,
			ImplementationVersionName: ImplementationVersionName,
			Identity:                  c.Identity,
		},
	}
	for i, pc := range c.Contexts[:min(len(c.Contexts), pdu.MaxContexts)] {
		rq.Contexts = append(rq.Contexts, pdu.ContextRQ{
			ID: byte(2*i + 1), AbstractSyntax: pc.AbstractSyntax, TransferSyntaxes: pc.TransferSyntaxes,
		})
		role := pdu.Role{SOPClassUID: pc.AbstractSyntax, SCP: true}
		if pc.Provider && !slices.Contains(rq.User.Roles, role) {
			rq.User.Roles = append(rq.User.Roles, role)
		}
	}
	if c.AsyncWindow > 0 {
		rq.User.AsyncWindow = &pdu.AsyncWindow{
			MaxOperationsInvoked: uint16(min(c.AsyncWindow, 0xFFFF)), MaxOperationsPerformed: 1,
		}
	}
	return rq
}

// associate sends the request and takes the answer.
func (a *Association) associate(ctx context.Context, rq []byte) error {
	defer context.AfterFunc(ctx, a.link.wire.stop)()
	a.link.wire.allow(a.cfg.ARTIM, false)
	a.link.fire(ul.AssociateRequest)
	if err := a.link.request(ul.TransportConfirmed, rq); err != nil {
		return err
	}
	ind, err := a.link.next()
	switch {
	case ctx.Err() != nil:
		a.link.abort(pdu.Abort{Source: pdu.AbortServiceUser})
		return ctx.Err()
	case err != nil:
		a.link.abort(pdu.Abort{Source: pdu.AbortServiceUser})
		return err
	}
	for _, c := range ind.ac.Contexts {
		i := int(c.ID / 2)
		if c.Result == pdu.ContextAccepted && i < len(a.cfg.Contexts) && a.cfg.Contexts[i].plays(ind.ac.User.Roles) {
			a.contexts[c.ID] = presentation{abstractSyntax: a.cfg.Contexts[i].AbstractSyntax, transferSyntax: c.TransferSyntax}
		}
	}
	a.peerPDU = a.cfg.MaxPDULength
	if most := int(ind.ac.User.MaxPDULength); most > 0 {
		a.peerPDU = min(a.peerPDU, most)
	}
	window := 1
	if w := ind.ac.User.AsyncWindow; w != nil && a.cfg.AsyncWindow > 0 {
		window = max(int(grant(w.MaxOperationsInvoked, a.cfg.AsyncWindow)), 1)
	}
	a.invoker = newInvoker(window)
	a.link.wire.allow(0, false)
	return nil
}

// plays tells whether we have the role that we want. Many peers leave out their
// answer to the selection, and take it all the same.
func (c *ProposedContext) plays(granted []pdu.Role) bool {
	return !c.Provider || !slices.ContainsFunc(granted, func(r pdu.Role) bool { return r.SOPClassUID == c.AbstractSyntax && !r.SCP })
}

// Window is the number of operations that may be in flight.
func (a *Association) Window() int { return cap(a.invoker.window) }

// Accepts tells whether the peer accepted a presentation context for the
// abstract syntax in the transfer syntax; an empty one is any.
func (a *Association) Accepts(abstractSyntax, transferSyntax string) bool {
	_, err := a.context(abstractSyntax, transferSyntax)
	return err == nil
}

func (a *Association) context(abstractSyntax, transferSyntax string) (byte, error) {
	for id, pc := range a.contexts {
		if pc.abstractSyntax == abstractSyntax && (transferSyntax == "" || pc.transferSyntax == transferSyntax) {
			return id, nil
		}
	}
	return 0, fmt.Errorf("%w: %s in %s", ErrNoContext, abstractSyntax, transferSyntax)
}

// receive takes responses until the association is over. It is the one
// goroutine of an Association and ends with its connection.
func (a *Association) receive() {
	defer close(a.ended)
	for {
		m, ind, err := a.inbox.next()
		if err == nil && ind == nil {
			err = a.deliver(m)
		}
		switch {
		case err != nil:
			a.err = err
			a.link.abort(pdu.Abort{Source: pdu.AbortServiceUser})
			a.link.finish()
			return
		case ind == nil:
		case ind.action == ul.AR3: // released, by us
			return
		case ind.action == ul.AR2 || ind.action == ul.AR8:
			_ = a.link.request(ul.ReleaseResponse, pdu.AppendReleaseRP(nil))
			if ind.action == ul.AR2 {
				a.err = ErrClosed
				a.link.finish()
				return
			}
		}
	}
}

// deliver hands a response to who waits for it.
func (a *Association) deliver(m *message) error {
	if m.command.Field&responseBit == 0 {
		return misused("a request, command field %04X, from a peer that is an SCP", m.command.Field)
	}
	if err := m.body.drain(a.cfg.ResponseTimeout); err != nil {
		return err
	}
	return a.invoker.deliver(m.command)
}

// begin takes a place in the window and a message id.
func (a *Association) begin(ctx context.Context) (id uint16, answer chan command, err error) {
	id, answer, err = a.invoker.begin(ctx, a.ended)
	if errors.Is(err, ErrClosed) {
		err = a.over()
	}
	return id, answer, err
}

// await waits for the response. When ctx ends first, the operation keeps its
// place in the window until the peer answers it.
func (a *Association) await(ctx context.Context, answer chan command) (command, error) {
	c, err := await(ctx, answer, a.ended, a.cfg.ResponseTimeout)
	switch {
	case errors.Is(err, ErrClosed):
		err = a.over()
	case errors.Is(err, ErrIdle):
		a.Abort()
	}
	return c, err
}

func (a *Association) over() error { return cmp.Or(a.err, ErrClosed) }

// Echo asks the peer whether it is there (C-ECHO). It needs Verification
// among the contexts.
func (a *Association) Echo(ctx context.Context) (Status, error) {
	pc, err := a.context(Verification, "")
	if err != nil {
		return 0, err
	}
	id, answer, err := a.begin(ctx)
	if err != nil {
		return 0, err
	}
	c := command{Field: cEchoRQ, MessageID: id, DataSetType: noDataSet, AffectedSOPClassUID: Verification}
	if err := a.link.request(ul.DataRequest, appendMessage(nil, pc, &c, a.peerPDU)); err != nil {
		return 0, errors.Join(err, a.err0())
	}
	rsp, err := a.await(ctx, answer)
	return rsp.Status, err
}

// err0 is why the association ended, if it has.
func (a *Association) err0() error {
	select {
	case <-a.ended:
		return a.err
	default:
		return nil
	}
}

// Release ends the association in good order. Operations in flight should
// have been answered. When it fails the association is aborted.
func (a *Association) Release(ctx context.Context) error {
	if err := a.link.request(ul.ReleaseRequest, pdu.AppendReleaseRQ(nil)); err != nil {
		a.Abort()
		return errors.Join(err, a.err0())
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.ARTIM)
	defer cancel()
	select {
	case <-a.ended:
		return a.err
	case <-ctx.Done():
		a.Abort()
		return ctx.Err()
	}
}

// Abort ends the association now and waits until it has ended. It may be
// called at any time, also when it is over.
func (a *Association) Abort() {
	a.link.abort(pdu.Abort{Source: pdu.AbortServiceUser})
	a.link.wire.hangUp()
	<-a.ended
}
