package dimse

import (
	"context"
	"sync"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/dimse/pdu"
	"github.com/esante-alsace/cigogne/storage"
)

// get performs a C-GET (PS3.4 §C.4.3): instances go to who asked, over the same
// association, in the contexts for which they said that they are an SCP.
func get(ctx context.Context, o *operation) response {
	a := o.association
	return o.retrieve(ctx, storage.Origin{
		Transport: transportGet, CallingAETitle: a.who.CallingAETitle, CalledAETitle: a.who.CallingAETitle, RemoteAddr: a.who.RemoteAddr,
	}, a.carry)
}

// carry is a carrier: one instance is sent after the other, while others wait
// for their answer.
func (a *association) carry(ctx context.Context, instances []gateway.Instance, canceled <-chan struct{}, tell func(suboperation)) {
	q := &queue{waiting: gateway.InOrder(ctx, instances), canceled: canceled}
	var answers sync.WaitGroup
	for in, ok := q.next(); ok && ctx.Err() == nil; in, ok = q.next() {
		o := suboperation{instance: in.About()}
		answer, err := a.give(ctx, in)
		if err != nil {
			o.err = err
			tell(o)
			continue
		}
		answers.Go(func() {
			rsp, err := await(ctx, answer, nil, a.server.cfg.SuboperationTimeout)
			if o.status, o.err = rsp.Status, err; err != nil {
				a.giveUp()
			}
			tell(o)
		})
	}
	answers.Wait()
}

// give sends one instance to the peer, whose answer is to be awaited. When that
// fails midway the association is aborted, for a message cannot be taken back.
func (a *association) give(ctx context.Context, in gateway.Instance) (answer chan command, err error) {
	about := in.About()
	pc, err := a.provided(about.SOPClassUID, about.TransferSyntaxUID)
	if err != nil {
		return nil, err
	}
	body, err := openDataSet(ctx, in)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	id, answer, err := a.invoker.begin(ctx, nil)
	if err != nil {
		return nil, err
	}
	c := command{
		Field: cStoreRQ, MessageID: id, // and the data set's type is any but noDataSet
		AffectedSOPClassUID: about.SOPClassUID, AffectedSOPInstanceUID: about.Key.SOPInstanceUID,
	}
	most := a.server.cfg.MaxPDULength
	if a.peerPDU > 0 {
		most = min(most, a.peerPDU)
	}
	if err = a.link.sendMessage(ctx, pc, &c, body, most); err != nil {
		a.giveUp()
		return nil, err
	}
	return answer, nil
}

// giveUp aborts the association: nothing more is awaited of the peer.
func (a *association) giveUp() {
	a.link.abort(pdu.Abort{Source: pdu.AbortServiceUser})
	a.link.wire.allow(a.server.cfg.ARTIM, false)
}

// provided finds the context in which the peer takes a SOP class.
func (a *association) provided(abstractSyntax, transferSyntax string) (byte, error) {
	for id, pc := range a.contexts {
		if pc.abstractSyntax == abstractSyntax && pc.transferSyntax == transferSyntax && a.provides[abstractSyntax] {
			return id, nil
		}
	}
	return 0, ErrNoContext
}
