package dimse

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/esante-alsace/cigogne/storage"
)

// StoreRequest is one instance to be sent.
type StoreRequest struct {
	SOPClassUID       string
	SOPInstanceUID    string
	TransferSyntaxUID string
	// DataSet is the bare Data Set in that transfer syntax.
	DataSet io.Reader
	// MoveOriginatorAETitle and MoveOriginatorMessageID say for whose C-MOVE
	// it is sent (PS3.7 §9.1.1.1); an empty title is nobody's.
	MoveOriginatorAETitle   string
	MoveOriginatorMessageID uint16
}

func (rq *StoreRequest) command() command {
	return command{
		Field: cStoreRQ, AffectedSOPClassUID: rq.SOPClassUID, AffectedSOPInstanceUID: rq.SOPInstanceUID,
		MoveOriginatorAETitle: rq.MoveOriginatorAETitle, MoveOriginatorMessageID: rq.MoveOriginatorMessageID,
	}
}

// Store sends an instance (C-STORE) and returns the peer's status; see
// Status.Failed. Many goroutines may call it: data sets go one after another,
// and up to Window of them wait for their response at the same time. When
// DataSet fails midway the association is aborted, for a message cannot be
// taken back.
func (a *Association) Store(ctx context.Context, rq StoreRequest) (Status, error) {
	if !storage.ValidUID(rq.SOPInstanceUID) {
		return 0, fmt.Errorf("%w: SOPInstanceUID %q is not a UID", storage.ErrInvalid, clip(rq.SOPInstanceUID))
	}
	answer, _, err := a.offer(ctx, rq)
	if err != nil {
		return 0, err
	}
	rsp, err := a.await(ctx, answer)
	return rsp.Status, err
}

// offer sends an instance, whose answer is to be awaited. Sent tells of an error
// that some of it may have been sent.
func (a *Association) offer(ctx context.Context, rq StoreRequest) (answer chan command, sent bool, err error) {
	pc, err := a.context(rq.SOPClassUID, rq.TransferSyntaxUID)
	if err != nil {
		return nil, false, err
	}
	c := rq.command()
	return a.invoke(ctx, pc, &c, rq.DataSet)
}

// request sends a command with its data set and waits for the response.
func (a *Association) request(ctx context.Context, pc byte, c *command, dataSet io.Reader) (Status, error) {
	answer, _, err := a.invoke(ctx, pc, c, dataSet)
	if err != nil {
		return 0, err
	}
	rsp, err := a.await(ctx, answer)
	return rsp.Status, err
}

// invoke sends a command with its data set.
func (a *Association) invoke(ctx context.Context, pc byte, c *command, dataSet io.Reader) (answer chan command, sent bool, err error) {
	id, answer, err := a.begin(ctx)
	if err != nil {
		return nil, false, err
	}
	c.MessageID, c.DataSetType = id, 0 // any but noDataSet
	if err := a.link.sendMessage(ctx, pc, c, dataSet, a.peerPDU); err != nil {
		a.Abort()
		return nil, true, errors.Join(err, a.err)
	}
	return answer, true, nil
}
