package dimse

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/esante-alsace/cigogne/gateway/dimse/pdu"
	"github.com/esante-alsace/cigogne/gateway/dimse/ul"
)

// linkLimits are the bounds of one end of an association.
type linkLimits struct {
	maxPDU, maxAssociate int
	artim, write         time.Duration
}

// link is one end of an association: it turns what happens into events of the
// state table and performs the actions. One goroutine receives; any may send.
type link struct {
	wire   *wire
	in     *pdu.Reader
	limits linkLimits

	out  sync.Mutex // one PDU or message at a time; taken before mu
	room []byte     // empty, of the capacity to send a fragment; out guards it
	mu   sync.Mutex
	ul   ul.Machine
}

// smallBuffer is enough until the association is accepted.
const smallBuffer = 4 << 10

func newLink(w *wire, requestor bool, limits linkLimits) *link {
	return &link{wire: w, in: pdu.NewReader(w, smallBuffer), limits: limits, ul: ul.NewMachine(requestor)}
}

func (l *link) fire(e ul.Event) ul.Action {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ul.Fire(e)
}

func (l *link) state() ul.State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ul.State()
}

// indication is what the upper layer tells its user. Of the fields at most
// the one of the action is set.
type indication struct {
	action ul.Action
	rq     *pdu.AssociateRQ
	ac     *pdu.AssociateAC
	rj     pdu.AssociateRJ
	abort  pdu.Abort
}

// next receives a PDU and returns what is to be told to the user. After data
// (DT-2, AR-6) the PDU is to be read from l.in. An error means that the
// association is over, or is to be aborted by the caller (ErrIdle,
// errStopped).
func (l *link) next() (indication, error) {
	for {
		h, err := l.in.Next()
		if err != nil {
			return indication{}, l.failed(err)
		}
		l.wire.renew()
		event, ind, err := l.read(h)
		if err != nil {
			return indication{}, l.failed(err)
		}
		if ind.action = l.fire(event); ind.action == ul.AA6 {
			continue // it is over, and only the end of the connection is awaited
		}
		return ind, l.act(ind, h)
	}
}

// read reads what belongs to the event, for all but data.
func (l *link) read(h pdu.Header) (e ul.Event, ind indication, err error) {
	if h.Type == pdu.TypeDataTF {
		if h.Length == 0 || uint64(h.Length) > uint64(l.limits.maxPDU) {
			return e, ind, &pdu.Error{Reason: pdu.ReasonInvalidParameter,
				What: fmt.Sprintf("a P-DATA-TF of %d bytes, %d were negotiated", h.Length, l.limits.maxPDU)}
		}
		return ul.ReceivedData, ind, nil
	}
	if h.Type < pdu.TypeAssociateRQ || h.Type > pdu.TypeAbort {
		return e, ind, &pdu.Error{Reason: pdu.ReasonUnrecognizedPDU, What: "an unknown PDU, " + h.Type.String()}
	}
	body, err := l.in.Body(l.limits.maxAssociate)
	if err != nil {
		return e, ind, err
	}
	switch h.Type {
	case pdu.TypeAssociateRQ:
		e = ul.ReceivedAssociateRQ
		ind.rq, err = pdu.DecodeAssociateRQ(body)
	case pdu.TypeAssociateAC:
		e = ul.ReceivedAssociateAC
		ind.ac, err = pdu.DecodeAssociateAC(body)
	case pdu.TypeAssociateRJ:
		e = ul.ReceivedAssociateRJ
		ind.rj, err = pdu.DecodeAssociateRJ(body)
	case pdu.TypeReleaseRQ:
		e, err = ul.ReceivedReleaseRQ, pdu.CheckRelease(body)
	case pdu.TypeReleaseRP:
		e, err = ul.ReceivedReleaseRP, pdu.CheckRelease(body)
	default:
		e = ul.ReceivedAbort
		ind.abort, err = pdu.DecodeAbort(body)
	}
	return e, ind, err
}

// act performs the actions that need no user.
func (l *link) act(ind indication, h pdu.Header) error {
	switch ind.action {
	case ul.AE4:
		l.wire.hangUp()
		return &RejectedError{ind.rj}
	case ul.AR3:
		l.wire.hangUp()
		return nil
	case ul.AA1:
		_ = l.sendAbort(pdu.Abort{Source: pdu.AbortServiceUser})
		return unexpectedPDU(h)
	case ul.AA2, ul.AA3:
		l.wire.hangUp()
		return fmt.Errorf("%w (source %d, %s)", ErrAborted, ind.abort.Source, ind.abort.Reason)
	case ul.AA7, ul.AA8:
		_ = l.sendAbort(pdu.Abort{Source: pdu.AbortServiceProvider, Reason: pdu.ReasonUnexpectedPDU})
		return unexpectedPDU(h)
	case ul.None:
		return ErrClosed // a PDU after the end, from a peer faster than our closing
	default:
		return nil
	}
}

func unexpectedPDU(h pdu.Header) error {
	return &pdu.Error{Reason: pdu.ReasonUnexpectedPDU, What: "an unexpected " + h.Type.String()}
}

// failed performs what follows when receiving failed, and says why it did.
func (l *link) failed(err error) error {
	var broken *pdu.Error
	switch {
	case errors.As(err, &broken):
		switch l.fire(ul.ReceivedInvalid) {
		case ul.AA1:
			_ = l.sendAbort(pdu.Abort{Source: pdu.AbortServiceUser})
		case ul.AA7, ul.AA8:
			_ = l.sendAbort(pdu.Abort{Source: pdu.AbortServiceProvider, Reason: broken.Reason})
		}
		return err
	case errors.Is(err, os.ErrDeadlineExceeded) && l.wire.isStopped():
		return errStopped
	case errors.Is(err, os.ErrDeadlineExceeded):
		if l.fire(ul.TimerExpired) == ul.AA2 {
			l.wire.hangUp()
		}
		return ErrIdle
	default:
		l.fire(ul.TransportClosed)
		l.wire.hangUp()
		if errors.Is(err, io.EOF) { // who reads a data set must not take it for the end
			return fmt.Errorf("%w: the peer closed it", ErrLost)
		}
		return fmt.Errorf("%w: %w", ErrLost, err)
	}
}

// request lets the local user do something for which a PDU is sent: e is an
// event such as ul.DataRequest. It fails with ErrClosed when the state table
// has no such thing now.
func (l *link) request(e ul.Event, pdu []byte) error {
	l.out.Lock()
	defer l.out.Unlock()
	return l.requestLocked(e, pdu)
}

func (l *link) requestLocked(e ul.Event, pdu []byte) error {
	if l.fire(e) == ul.None {
		return ErrClosed
	}
	return l.write(pdu)
}

// write sends in one write.
func (l *link) write(b []byte) error {
	if err := l.wire.SetWriteDeadline(time.Now().Add(l.limits.write)); err != nil {
		return fmt.Errorf("%w: %w", ErrLost, err)
	}
	if _, err := l.wire.Write(b); err != nil {
		l.wire.hangUp() // the reader sees it and tells the state table
		return fmt.Errorf("%w: %w", ErrLost, err)
	}
	return nil
}

// abortWait is how long an A-ABORT may wait for another PDU to be sent.
const abortWait = time.Second

func (l *link) sendAbort(a pdu.Abort) error {
	// Who is writing to a peer that does not read must make way.
	_ = l.wire.SetWriteDeadline(time.Now().Add(abortWait))
	l.out.Lock()
	defer l.out.Unlock()
	return l.write(a.Append(nil))
}

// abort ends the association from this side, if it is not over already.
func (l *link) abort(a pdu.Abort) {
	switch l.fire(ul.AbortRequest) {
	case ul.AA1:
		_ = l.sendAbort(a)
	case ul.AA2:
		l.wire.hangUp()
	}
}

// await gives the peer d for what it sends next, and again with each progress,
// unless the association is over: then ARTIM runs.
func (l *link) await(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ul.State() != ul.Sta13 {
		l.wire.allow(d, true)
	}
}

// finish waits until the peer closes the connection, for ARTIM at most, and
// closes it. Closing at once could destroy what was just sent.
func (l *link) finish() {
	defer l.wire.hangUp()
	l.wire.resume()
	l.wire.allow(l.limits.artim, false)
	for l.state() == ul.Sta13 {
		if _, err := l.next(); err != nil && l.state() == ul.Sta13 && errors.Is(err, errStopped) {
			return
		}
	}
}
