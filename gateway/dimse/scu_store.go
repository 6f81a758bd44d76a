package dimse

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/esante-alsace/cigogne/gateway/dimse/pdu"
	"github.com/esante-alsace/cigogne/gateway/dimse/ul"
	"github.com/esante-alsace/cigogne/storage"
)

// StoreRequest is one instance to be sent.
type StoreRequest struct {
	SOPClassUID       string
	SOPInstanceUID    string
	TransferSyntaxUID string
	// DataSet is the bare Data Set in that transfer syntax.
	DataSet io.Reader
}

// commandRoom is enough for any command set of ours, in the shortest PDUs too.
const commandRoom = 1 << 10

// Store sends an instance (C-STORE) and returns the peer's status; see
// Status.Failed. Many goroutines may call it: data sets go one after another,
// and up to Window of them wait for their response at the same time. When
// DataSet fails midway the association is aborted, for a message cannot be
// taken back.
func (a *Association) Store(ctx context.Context, rq StoreRequest) (Status, error) {
	if !storage.ValidUID(rq.SOPInstanceUID) {
		return 0, fmt.Errorf("%w: SOPInstanceUID %q is not a UID", storage.ErrInvalid, clip(rq.SOPInstanceUID))
	}
	pc, err := a.context(rq.SOPClassUID, rq.TransferSyntaxUID)
	if err != nil {
		return 0, err
	}
	c := command{Field: cStoreRQ, AffectedSOPClassUID: rq.SOPClassUID, AffectedSOPInstanceUID: rq.SOPInstanceUID}
	return a.request(ctx, pc, &c, rq.DataSet)
}

// request sends a command with its data set and waits for the response.
func (a *Association) request(ctx context.Context, pc byte, c *command, dataSet io.Reader) (Status, error) {
	id, answer, err := a.begin(ctx)
	if err != nil {
		return 0, err
	}
	c.MessageID, c.DataSetType = id, 0 // any but noDataSet
	if err := a.send(ctx, pc, c, dataSet); err != nil {
		a.Abort()
		return 0, errors.Join(err, a.err)
	}
	rsp, err := a.await(ctx, answer)
	return rsp.Status, err
}

// send sends a whole message. The command set goes out together with the
// first fragment of the data set.
func (a *Association) send(ctx context.Context, pc byte, c *command, dataSet io.Reader) error {
	l := a.link
	l.out.Lock()
	defer l.out.Unlock()
	fragment := fragmentLength(a.peerPDU)
	if a.out == nil {
		a.out = make([]byte, 0, fragment+commandRoom)
	}
	out := appendMessage(a.out, pc, c, a.peerPDU)
	// One byte is read ahead, to know which fragment is the last.
	ahead, held := [1]byte{}, 0
	for last := false; !last; {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		head := len(out)
		out = pdu.AppendPDV(out, pdu.PDV{ContextID: pc})
		start := len(out)
		out = append(out, ahead[:held]...)
		room := out[len(out) : start+fragment+1]
		n, err := io.ReadFull(dataSet, room)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("reading the data set: %w", err)
		}
		last = err != nil
		length := held + n
		if !last {
			length--
			ahead[0], held = room[n-1], 1
		}
		pdu.AppendPDV(out[:head], pdu.PDV{ContextID: pc, Last: last, Length: length})
		if err := l.requestLocked(ul.DataRequest, out[:start+length]); err != nil {
			return err
		}
		out = a.out
	}
	return nil
}
