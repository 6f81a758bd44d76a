package dimse

import (
	"cmp"
	"context"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/access"
	"github.com/esante-alsace/cigogne/gateway/dimse/pdu"
	"github.com/esante-alsace/cigogne/gateway/dimse/ul"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/trace"
)

// perform does what a message asks for. An error ends the association.
func (a *association) perform(ctx context.Context, m *message) error {
	pc, ok := a.contexts[m.contextID]
	task, operation := a.server.task(m.command.Field, pc.abstractSyntax)
	switch {
	case !ok:
		return misused("presentation context %d was not accepted", m.contextID)
	case m.command.Field == cCancelRQ:
		a.underWay.cancel(m.command.MessageIDBeingRespondedTo)
		return m.body.drain(a.server.cfg.DrainTimeout)
	case m.command.Field&responseBit != 0:
		return a.answered(m)
	case m.command.Field == cStoreRQ && m.body == nil:
		return misused("a C-STORE without a data set")
	case m.command.Field == cStoreRQ:
		return a.store(ctx, m, pc)
	case operation:
		return a.operate(ctx, m, pc, task)
	case m.command.Field == nActionRQ && pc.abstractSyntax == StorageCommitment:
		return a.action(ctx, m, pc)
	case m.command.Field == cEchoRQ && pc.abstractSyntax == Verification:
		return a.echo(ctx, m)
	case m.command.Field == cEchoRQ:
		return a.decline(m, verdict{StatusSOPClassNotSupported, "not the Verification SOP class"})
	default:
		return a.decline(m, verdict{StatusUnrecognizedOperation, "unrecognized operation"})
	}
}

// answered takes a response to what was asked of the peer.
func (a *association) answered(m *message) error {
	if err := m.body.drain(a.server.cfg.DrainTimeout); err != nil {
		return err
	}
	return a.invoker.deliver(m.command)
}

func (a *association) echo(ctx context.Context, m *message) error {
	if a.server.cfg.Gatekeeper.Permit(ctx, a.who, access.Echo, "") != nil {
		return a.decline(m, verdict{StatusNotAuthorized, "not authorized"})
	}
	return a.decline(m, verdict{status: StatusSuccess})
}

// decline answers without looking at the data set, if there is one.
func (a *association) decline(m *message, v verdict) error {
	if err := m.body.drain(a.server.cfg.DrainTimeout); err != nil {
		return err
	}
	return a.respond(m, v)
}

// store receives an instance and answers once it is durable: at once when
// operations are synchronous, and else from a goroutine of its own, while the
// next instance comes in.
func (a *association) store(ctx context.Context, m *message, pc presentation) error {
	ctx, span := a.followed(ctx, "C-STORE")
	if v := a.check(ctx, m, pc); v.status != StatusSuccess {
		a.refused(refusalOf(v.status))
		ended(span, v)
		return a.decline(m, v)
	}
	if err := a.take(ctx); err != nil {
		span.Done(err)
		return err
	}
	pending, err := a.server.cfg.Receiver.Receive(ctx, gateway.Incoming{
		Body:              m.body,
		Form:              gateway.DataSet,
		TransferSyntaxUID: pc.transferSyntax,
		SOPClassUID:       m.command.AffectedSOPClassUID,
		SOPInstanceUID:    m.command.AffectedSOPInstanceUID,
		Origin: storage.Origin{
			Transport: "dimse", CallingAETitle: a.who.CallingAETitle, CalledAETitle: a.who.CalledAETitle,
			RemoteAddr: a.who.RemoteAddr, ID: a.id,
		},
	})
	if drained := m.body.drain(a.server.cfg.DrainTimeout); drained != nil {
		if err == nil {
			_, _ = pending.Wait(ctx) // it must be called; there is nobody to tell
		} else {
			a.refused(gateway.RefusedCut)
		}
		<-a.window
		span.Done(drained)
		return drained
	}
	if err != nil || cap(a.window) == 1 {
		defer func() { <-a.window }()
		return a.settle(ctx, span, m, pending, err)
	}
	a.answers.Go(func() {
		defer func() { <-a.window }()
		_ = a.settle(ctx, span, m, pending, nil) // a failure to send is seen by the reader too
	})
	return nil
}

// take waits for room in the window. A requestor that keeps to what was
// negotiated never has to wait.
func (a *association) take(ctx context.Context) error {
	select {
	case a.window <- struct{}{}:
		return nil
	case <-ctx.Done():
		return errStopped
	}
}

// settle waits until the instance is durable, and answers.
func (a *association) settle(ctx context.Context, span trace.Span, m *message, pending gateway.Pending, err error) error {
	var receipt gateway.Receipt
	if err == nil {
		receipt, err = pending.Wait(ctx)
	}
	v := judge(receipt, err)
	defer ended(span, v)
	if v.status.Failed() {
		a.refused(gateway.RefusalOf(err))
		a.log.Warn("instance not stored", "status", v.status.String(),
			"sopInstanceUID", m.command.AffectedSOPInstanceUID, "reason", err)
	}
	return a.respond(m, v)
}

func (a *association) refused(why gateway.Refusal) { a.server.cfg.Metrics.Refused("dimse", why) }

// check looks at the request alone.
func (a *association) check(ctx context.Context, m *message, pc presentation) verdict {
	c := &m.command
	switch {
	case c.AffectedSOPClassUID != pc.abstractSyntax || !storable(pc.abstractSyntax):
		return verdict{StatusSOPClassNotSupported, "SOP class is not that of the presentation context"}
	case !storage.ValidUID(c.AffectedSOPInstanceUID):
		return verdict{StatusCannotUnderstand, "AffectedSOPInstanceUID is not a UID"}
	case a.server.cfg.Receiver == nil:
		return verdict{StatusUnrecognizedOperation, "nothing is stored here"}
	case a.server.cfg.Gatekeeper.Permit(ctx, a.who, access.Store, "instances/"+c.AffectedSOPInstanceUID) != nil:
		return verdict{StatusNotAuthorized, "not authorized"}
	default:
		return verdict{status: StatusSuccess}
	}
}

// respond sends the response to m, in one write.
func (a *association) respond(m *message, v verdict) error {
	response := command{
		Field:                     m.command.Field | responseBit,
		MessageIDBeingRespondedTo: m.command.MessageID,
		DataSetType:               noDataSet,
		Status:                    v.status,
		ErrorComment:              v.comment,
		AffectedSOPClassUID:       clip(cmp.Or(m.command.AffectedSOPClassUID, m.command.RequestedSOPClassUID)),
		AffectedSOPInstanceUID:    clip(cmp.Or(m.command.AffectedSOPInstanceUID, m.command.RequestedSOPInstanceUID)),
	}
	var bytes int64
	if m.body != nil {
		bytes = m.body.n
	}
	a.server.cfg.Metrics.Operation(commandName(m.command.Field), v.status, bytes, time.Since(m.began))
	return a.link.request(ul.DataRequest, appendMessage(nil, m.contextID, &response, a.peerPDU))
}

// clip shortens what is not a UID anyway, nor a level or an AE title.
func clip(uid string) string { return uid[:min(len(uid), 64)] }

// appendMessage appends a command set in P-DATA-TFs of at most most bytes,
// where 0 is any number; in nearly every case it is one.
func appendMessage(b []byte, contextID byte, c *command, most int) []byte {
	return appendFragments(b, pdu.PDV{ContextID: contextID, Command: true}, c.append(make([]byte, 0, 256)), most)
}

// appendFragments appends what is not empty, a command set or a data set, in
// P-DATA-TFs of at most most bytes, where 0 is any number. Of v the context and
// the kind are given.
func appendFragments(b []byte, v pdu.PDV, whole []byte, most int) []byte {
	for len(whole) > 0 {
		v.Length = len(whole)
		if most > 0 {
			v.Length = min(v.Length, fragmentLength(most))
		}
		v.Last = v.Length == len(whole)
		b = pdu.AppendPDV(b, v)
		b, whole = append(b, whole[:v.Length]...), whole[v.Length:]
	}
	return b
}

// leastPDU is the shortest P-DATA-TF that a peer is believed to insist on.
const leastPDU = 16

// fragmentLength is the even number of bytes that a fragment can have in a
// P-DATA-TF of at most most bytes.
func fragmentLength(most int) int {
	return (max(most, leastPDU) - (pdu.DataOverhead - pdu.HeaderLength)) &^ 1
}

func deadline(d time.Duration) time.Time { return time.Now().Add(d) }
