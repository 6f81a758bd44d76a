package dimse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/esante-alsace/cigogne/gateway/access"
	"github.com/esante-alsace/cigogne/gateway/commitment"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

// Storage Commitment, Push Model (PS3.4 §J.3).
const (
	actionRequestCommitment uint16 = 1 // PS3.4 Table J.3-1
	eventAllCommitted       uint16 = 1 // PS3.4 §J.3.3.1
	eventFailuresExist      uint16 = 2

	tagTransactionUID           dicom.Tag = 0x00081195
	tagFailureReason            dicom.Tag = 0x00081197
	tagFailedSOPSequence        dicom.Tag = 0x00081198
	tagReferencedSOPSequence    dicom.Tag = 0x00081199
	tagReferencedSOPClassUID    dicom.Tag = 0x00081150
	tagReferencedSOPInstanceUID dicom.Tag = 0x00081155
)

// Bounds of the Data Set of an N-ACTION: of its bytes, of what is kept of it
// in memory, and of how long it may take, as few may be read at the same time.
const (
	actionBytes   = 32 << 20
	actionKept    = 96 << 20
	actionsAtOnce = 2
	actionTime    = 30 * time.Second
)

// action takes a request for storage commitment: success is answered when it
// is durable.
func (a *association) action(ctx context.Context, m *message, pc presentation) error {
	ctx, span := a.followed(ctx, "N-ACTION")
	v := a.checkAction(ctx, m)
	if v.status == StatusSuccess {
		var err error
		if v, err = a.commit(ctx, m, pc); err != nil {
			span.Done(err)
			return err
		}
	}
	ended(span, v)
	return a.decline(m, v)
}

// commit reads what is asked for and hands it on. As it lies in memory until it
// is durable, few do so at a time. An error ends the association.
func (a *association) commit(ctx context.Context, m *message, pc presentation) (verdict, error) {
	select {
	case a.server.actions <- struct{}{}:
	case <-ctx.Done():
		return verdict{}, errStopped
	}
	defer func() { <-a.server.actions }()
	rq, err := readRequest(m.body, pc.transferSyntax, deadline(actionTime))
	if drained := m.body.drain(a.server.cfg.DrainTimeout); drained != nil {
		return verdict{}, drained
	}
	if err == nil {
		rq.Origin = storage.Origin{
			Transport: "dimse", CallingAETitle: a.who.CallingAETitle, CalledAETitle: a.who.CalledAETitle,
			RemoteAddr: a.who.RemoteAddr, ID: a.id,
		}
		err = a.server.cfg.Committer.Ask(ctx, rq)
	}
	v := judgeAction(err)
	a.log.Info("storage commitment is asked for", "transaction", rq.TransactionUID, "instances", len(rq.References),
		"status", v.status.String(), "reason", err)
	return v, nil
}

// checkAction looks at the request alone.
func (a *association) checkAction(ctx context.Context, m *message) verdict {
	switch c := &m.command; {
	case c.RequestedSOPClassUID != StorageCommitment:
		return verdict{StatusNoSuchClass, "not the SOP class of the presentation context"}
	case c.RequestedSOPInstanceUID != storageCommitmentInstance:
		return verdict{StatusNoSuchInstance, "not the well-known SOP instance"}
	case c.ActionTypeID != actionRequestCommitment:
		return verdict{StatusNoSuchAction, "the one action is 1"}
	case m.body == nil:
		return verdict{StatusInvalidArgument, "no action information"}
	case a.server.cfg.Gatekeeper.Permit(ctx, a.who, access.Commit, "") != nil:
		return verdict{StatusNotAuthorized, "not authorized"}
	default:
		return verdict{status: StatusSuccess}
	}
}

// judgeAction maps what became of a request to a status.
func judgeAction(err error) verdict {
	switch {
	case err == nil:
		return verdict{status: StatusSuccess}
	case errors.Is(err, storage.ErrConflict):
		return verdict{StatusInvalidArgument, "Transaction UID is in use for another request"}
	case errors.Is(err, storage.ErrInvalid):
		return verdict{StatusInvalidArgument, "action information is not well-formed"}
	case errors.Is(err, storage.ErrTooLarge):
		return verdict{StatusResourceLimitation, fmt.Sprintf("more than %d instances, or too slow", commitment.References)}
	case errors.Is(err, storage.ErrFull):
		return verdict{StatusResourceLimitation, "too many requests are open"}
	case errors.Is(err, storage.ErrForbidden):
		return verdict{StatusNotAuthorized, "not authorized"}
	case errors.Is(err, storage.ErrUnsupported):
		return verdict{StatusProcessingFailure, "no address is known here for the calling AE title"}
	default:
		return verdict{StatusProcessingFailure, "cannot take it now, try again later"}
	}
}

// readRequest reads a Data Set of PS3.4 Table J.3-1. One that breaks the
// standard is storage.ErrInvalid, one beyond the bounds storage.ErrTooLarge; an
// error of body itself is handed on.
func readRequest(body io.Reader, transferSyntax string, until time.Time) (rq commitment.Request, err error) {
	scanner := dicom.NewScanner(transferSyntax, dicom.ScanLimits{
		MaxKept: actionKept, MaxInflated: actionBytes, MaxElements: 8 * commitment.References, MaxDepth: 4,
	})
	defer scanner.Abort()
	n := 0
	_, err = io.Copy(writerFunc(func(p []byte) (int, error) {
		if n += len(p); n > actionBytes || time.Now().After(until) {
			return 0, fmt.Errorf("%w: the action information, or it takes too long", storage.ErrTooLarge)
		}
		return scanner.Write(p)
	}), body)
	if err != nil {
		return rq, err
	}
	found, err := scanner.Close()
	switch {
	case err != nil:
		return rq, err
	case found.Overflow:
		return rq, fmt.Errorf("%w: the action information", storage.ErrTooLarge)
	}
	rq.TransactionUID = found.DataSet.String(tagTransactionUID)
	sequence, _ := found.DataSet.Get(tagReferencedSOPSequence)
	switch {
	case !storage.ValidUID(rq.TransactionUID) || len(sequence.Items) == 0:
		return rq, fmt.Errorf("%w: no Transaction UID, or nothing is asked for", storage.ErrInvalid)
	case len(sequence.Items) > commitment.References:
		return rq, fmt.Errorf("%w: %d instances", storage.ErrTooLarge, len(sequence.Items))
	}
	for _, item := range sequence.Items {
		r := commitment.Reference{SOPClassUID: item.String(tagReferencedSOPClassUID), SOPInstanceUID: item.String(tagReferencedSOPInstanceUID)}
		if !storage.ValidUID(r.SOPClassUID) || !storage.ValidUID(r.SOPInstanceUID) {
			return rq, fmt.Errorf("%w: a reference names no instance", storage.ErrInvalid)
		}
		rq.References = append(rq.References, r)
	}
	return rq, nil
}
