package dimse

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/esante-alsace/cigogne/gateway/access"
	"github.com/esante-alsace/cigogne/gateway/dimse/pdu"
	"github.com/esante-alsace/cigogne/gateway/dimse/ul"
	"github.com/esante-alsace/cigogne/gateway/throttle"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/trace"
)

// Why an operation ends before its work is done.
var (
	errCanceled = errors.New("a C-CANCEL-RQ came")
	errOver     = errors.New("the association is over")
)

// task is what an operation of Query/Retrieve does.
type task struct {
	needs access.Operation
	// perform returns the last response. When ctx ends with errCanceled or
	// errOver as its cause, that is to be StatusCanceled.
	perform func(ctx context.Context, o *operation) response
}

// task finds what a request asks for in a presentation context, if anything
// here does it.
func (s *Server) task(field uint16, abstractSyntax string) (task, bool) {
	if !s.serves(abstractSyntax) {
		return task{}, false
	}
	switch abstractSyntax {
	case PatientRootFind, StudyRootFind:
		return task{access.Search, find}, field == cFindRQ
	case PatientRootMove, StudyRootMove:
		return task{access.Retrieve, move}, field == cMoveRQ
	case PatientRootGet, StudyRootGet:
		return task{access.Retrieve, get}, field == cGetRQ
	}
	return task{}, false
}

// operation is one of Query/Retrieve that is under way: to its one request there
// are many responses.
type operation struct {
	association *association
	message     *message
	context     presentation
	identifier  identifier
}

// response is one to an operation.
type response struct {
	verdict
	identifier dicom.DataSet // nil for none
	// suboperations are nil but for a C-GET or C-MOVE.
	suboperations *suboperations
}

// operate reads a request's Identifier and leaves what follows to a goroutine,
// so that this one goes on reading: a C-CANCEL-RQ may come. An error ends the
// association.
func (a *association) operate(ctx context.Context, m *message, pc presentation, t task) error {
	ctx, span := a.followed(ctx, commandName(m.command.Field))
	if v := a.checkOperation(ctx, m, pc, t.needs); v.status != StatusSuccess {
		ended(span, v)
		return a.decline(m, v)
	}
	if err := a.take(ctx); err != nil {
		span.Done(err)
		return err
	}
	leave, err := a.server.operations.Take(throttle.Caller(a.who.RemoteAddr))
	if err != nil {
		<-a.window
		v := verdict{StatusOutOfResources, "too many operations, try again later"}
		ended(span, v)
		return a.decline(m, v)
	}
	done := func() {
		leave()
		<-a.window
	}
	o := &operation{association: a, message: m, context: pc}
	o.identifier, err = readIdentifier(m.body, pc.transferSyntax, deadline(identifierTime))
	drained := m.body.drain(a.server.cfg.DrainTimeout)
	switch {
	case drained != nil:
		done()
		span.Done(drained)
		return drained
	case err != nil:
		defer done()
		v := judgeIdentifier(err)
		ended(span, v)
		return a.respond(m, v)
	}
	ctx, end, fresh := a.underWay.begin(ctx, m.command.MessageID)
	if !fresh {
		done()
		err := misused("message %d is not answered yet", m.command.MessageID)
		span.Done(err)
		return err
	}
	a.answers.Go(func() {
		defer done()
		last := t.perform(ctx, o)
		end() // its MessageID may be that of the next as soon as it is answered
		a.answer(span, o, last)
	})
	return nil
}

// answer sends the last response.
func (a *association) answer(span trace.Span, o *operation, last response) {
	a.server.cfg.Metrics.Operation(commandName(o.message.command.Field), last.status, o.message.body.n, time.Since(o.message.began))
	ended(span, last.verdict)
	_ = o.respond(last)             // a failure to send is seen by the reader too
	a.link.await(a.server.cfg.Idle) // from now on it is the peer's turn
}

// checkOperation looks at the request alone.
func (a *association) checkOperation(ctx context.Context, m *message, pc presentation, needs access.Operation) verdict {
	switch {
	case m.command.AffectedSOPClassUID != pc.abstractSyntax:
		return verdict{StatusSOPClassNotSupported, "SOP class is not that of the presentation context"}
	case m.body == nil:
		return verdict{StatusMismatch, "no Identifier"}
	case a.server.cfg.Gatekeeper.Permit(ctx, a.who, needs, "studies") != nil:
		return verdict{StatusNotAuthorized, "not authorized"}
	default:
		return verdict{status: StatusSuccess}
	}
}

func judgeIdentifier(err error) verdict {
	if errors.Is(err, storage.ErrTooLarge) {
		return verdict{StatusOutOfResources, "Identifier is larger than the limit, or too slow"}
	}
	return verdict{StatusMismatch, "Identifier is not well-formed"}
}

// respond sends a response in one write. An error means that there is nobody to
// respond to.
func (o *operation) respond(r response) error {
	a, rq := o.association, &o.message.command
	c := command{
		Field:                     rq.Field | responseBit,
		MessageIDBeingRespondedTo: rq.MessageID,
		DataSetType:               noDataSet,
		Status:                    r.status,
		ErrorComment:              r.comment,
		AffectedSOPClassUID:       o.context.abstractSyntax,
		Suboperations:             r.suboperations,
	}
	var whole []byte
	if r.identifier != nil {
		var err error
		if whole, err = appendIdentifier(nil, r.identifier, o.context.transferSyntax); err != nil {
			return fmt.Errorf("the Identifier of a response: %w", err)
		}
		c.DataSetType = 0 // any but noDataSet
	}
	b := appendMessage(make([]byte, 0, len(whole)+commandRoom), o.message.contextID, &c, a.peerPDU)
	return a.link.request(ul.DataRequest, appendFragments(b, pdu.PDV{ContextID: o.message.contextID}, whole, a.peerPDU))
}

// underWay are the operations that are under way, by their MessageID.
type underWay struct {
	mu      sync.Mutex
	cancels map[uint16]context.CancelCauseFunc
}

// begin enters an operation until end is called, which must be done. It is not
// fresh when its MessageID is that of another one.
func (u *underWay) begin(ctx context.Context, id uint16) (_ context.Context, end func(), fresh bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.cancels[id] != nil {
		return ctx, nil, false
	}
	ctx, cancel := context.WithCancelCause(ctx)
	if u.cancels == nil {
		u.cancels = map[uint16]context.CancelCauseFunc{}
	}
	u.cancels[id] = cancel
	return ctx, func() {
		cancel(nil)
		u.mu.Lock()
		defer u.mu.Unlock()
		delete(u.cancels, id)
	}, true
}

// cancel ends an operation that is under way. There may be none, any more.
func (u *underWay) cancel(id uint16) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if cancel := u.cancels[id]; cancel != nil {
		cancel(errCanceled)
	}
}

// end ends all: there will be nobody to answer to.
func (u *underWay) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, cancel := range u.cancels {
		cancel(errOver)
	}
}

// canceled tells whether an operation is to end before its work is done.
func canceled(ctx context.Context) bool {
	cause := context.Cause(ctx)
	return errors.Is(cause, errCanceled) || errors.Is(cause, errOver)
}
