package dimse

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/access"
	"github.com/esante-alsace/cigogne/gateway/throttle"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

const tagFailedSOPInstanceUIDList dicom.Tag = 0x00080058

// retrieval is a C-MOVE or C-GET that is performed.
type retrieval struct {
	*operation
	to    storage.Origin // who is sent what is retrieved
	began time.Time
	suboperations
	failedUIDs []string
	sent       map[seriesUID]*sum
}

// seriesUID names a series in its study.
type seriesUID struct{ study, series string }

// sum is what was sent of a series.
type sum struct {
	instances int
	bytes     int64
}

// retrieve finds what the Identifier names, has it sent, and returns the last
// response.
func (o *operation) retrieve(ctx context.Context, to storage.Origin, send carrier) response {
	r := &retrieval{operation: o, to: to, began: time.Now(), sent: map[seriesUID]*sum{}}
	soft := ctx
	ctx, cancelled, stop := patient(soft)
	defer stop()
	leave, v := o.enter(soft, to)
	if v.status == StatusSuccess {
		defer leave()
		v = r.perform(ctx, soft, cancelled, send)
	}
	r.log(v)
	last := response{verdict: v, suboperations: &r.suboperations}
	if len(r.failedUIDs) > 0 && v.status != StatusPending {
		last.identifier = dicom.DataSet{{Tag: tagFailedSOPInstanceUIDList, VR: "UI", Values: fitting(r.failedUIDs)}}
	}
	return last
}

// patient parts what ends an operation: a C-CANCEL-RQ closes cancelled, so that
// what was begun is finished, and the end of the association ends the context.
func patient(ctx context.Context) (hard context.Context, cancelled <-chan struct{}, stop func()) {
	hard, end := context.WithCancel(context.WithoutCancel(ctx))
	soft := make(chan struct{})
	undo := context.AfterFunc(ctx, func() {
		close(soft)
		if !errors.Is(context.Cause(ctx), errCanceled) {
			end()
		}
	})
	return hard, soft, func() { undo(); end() }
}

// enter waits for a place among the retrievals, for a bounded time.
func (o *operation) enter(ctx context.Context, to storage.Origin) (leave func(), v verdict) {
	s := o.association.server
	bounded, end := context.WithTimeout(ctx, s.cfg.RetrievalWait)
	defer end()
	leave, err := s.retrievals.take(bounded, throttle.Caller(to.RemoteAddr))
	switch {
	case err == nil:
		return leave, verdict{status: StatusSuccess}
	case ctx.Err() != nil:
		return nil, verdict{StatusCanceled, "cancelled"}
	default:
		return nil, verdict{StatusCannotSend, "too many retrievals, try again later"}
	}
}

// perform finds the instances and has them sent; soft ends with a C-CANCEL-RQ.
func (r *retrieval) perform(ctx, soft context.Context, cancelled <-chan struct{}, send carrier) verdict {
	instances, v := r.located(ctx, soft)
	if v.status != StatusSuccess {
		return v
	}
	r.remaining = len(instances)
	r.carry(ctx, func(ctx context.Context, tell func(suboperation)) { send(ctx, instances, cancelled, tell) }, r.ended, r.pending)
	r.note(instances)
	select {
	case <-cancelled:
		return r.verdict(true)
	default:
		return r.verdict(false)
	}
}

// pending tells how far it is.
func (r *retrieval) pending() error {
	return r.respond(response{verdict: verdict{status: StatusPending}, suboperations: &r.suboperations})
}

// ended takes what became of an instance.
func (r *retrieval) ended(o suboperation) {
	a, key := r.association, o.instance.Key
	a.server.cfg.Metrics.Suboperation(commandName(r.message.command.Field), o.failed(), o.instance.Size-o.instance.Prefix)
	if o.failed() {
		r.failedUIDs = append(r.failedUIDs, key.SOPInstanceUID)
		a.log.Warn("instance not sent", "to", r.to.CalledAETitle, "sopInstanceUID", key.SOPInstanceUID,
			"sopClassUID", o.instance.SOPClassUID, "transferSyntaxUID", o.instance.TransferSyntaxUID, "reason", o.reason())
		return
	}
	of := seriesUID{key.StudyInstanceUID, key.SeriesInstanceUID}
	if r.sent[of] == nil {
		r.sent[of] = &sum{}
	}
	r.sent[of].instances++
	r.sent[of].bytes += o.instance.Size - o.instance.Prefix
}

// note records what was sent to whom, and of which studies something was not.
func (r *retrieval) note(instances []gateway.Instance) {
	notes := r.association.server.cfg.Sent
	if notes == nil {
		return
	}
	asked, sent := map[string]int{}, map[string]int{}
	for _, in := range instances {
		asked[in.About().Key.StudyInstanceUID]++
	}
	for of, s := range r.sent {
		sent[of.study] += s.instances
		notes.Sent(gateway.Sending{To: r.to, Study: of.study, Series: of.series, Instances: s.instances, Bytes: s.bytes, Began: r.began})
	}
	for study, n := range asked {
		if sent[study] < n {
			notes.Sent(gateway.Sending{To: r.to, Study: study, Began: r.began, Cut: true})
		}
	}
}

func (r *retrieval) log(v verdict) {
	var bytes int64
	for _, s := range r.sent {
		bytes += s.bytes
	}
	r.association.log.Info("retrieval ended", "command", commandName(r.message.command.Field), "level", r.identifier.level, "to", r.to.CalledAETitle,
		"status", v.status.String(), "completed", r.completed, "warning", r.warning, "failed", r.failed, "remaining", r.remaining,
		"bytes", bytes, "took", time.Since(r.began), "comment", v.comment)
}

// fitting are as many UIDs as a value of 64 KiB in Explicit VR has room for; how
// many there are says the number of failed suboperations.
func fitting(uids []string) []string {
	length := 0
	for i, uid := range uids {
		if length += len(uid) + 1; length >= 1<<16 {
			return uids[:i]
		}
	}
	return uids
}

// located is locate, given up when soft ends. What it found can be opened as long
// as ctx goes on.
func (r *retrieval) located(ctx, soft context.Context) ([]gateway.Instance, verdict) {
	locating, end := context.WithCancel(ctx)
	undo := context.AfterFunc(soft, end)
	found, v := r.locate(locating)
	if !undo() {
		r.remaining = len(found)
		return nil, verdict{StatusCanceled, "cancelled"}
	}
	return found, v
}

// locate finds what is asked for. Nothing is a success without instances.
func (r *retrieval) locate(ctx context.Context) ([]gateway.Instance, verdict) {
	wanted, err := r.wanted(ctx)
	if err != nil {
		return nil, judgeRetrieval(err)
	}
	cfg := &r.association.server.cfg
	var all []gateway.Instance
	for _, w := range wanted {
		if cfg.Gatekeeper.Permit(ctx, r.association.who, access.Retrieve, w.resource()) != nil {
			return nil, verdict{StatusNotAuthorized, "not authorized"}
		}
		found, err := cfg.Retriever.Instances(ctx, w.Selector)
		if errors.Is(err, storage.ErrNotFound) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			r.association.log.Warn("instances are not found", "reason", err)
			return nil, judgeRetrieval(err)
		}
		if all = append(all, w.among(found)...); len(all) > mostSuboperations {
			return nil, verdict{StatusTooManyMatches, fmt.Sprintf("more than %d instances", mostSuboperations)}
		}
	}
	return all, verdict{status: StatusSuccess}
}

// judgeRetrieval maps why nothing can be sent to a status (PS3.4 Table C.4-2).
func judgeRetrieval(err error) verdict {
	switch {
	case errors.Is(err, storage.ErrInvalid):
		return mismatch(err)
	case errors.Is(err, storage.ErrConflict):
		return verdict{StatusCannotUnderstand, "the Patient ID is that of several patients"}
	case errors.Is(err, storage.ErrTooLarge):
		return verdict{StatusTooManyMatches, "too much is asked for"}
	case errors.Is(err, storage.ErrForbidden):
		return verdict{StatusNotAuthorized, "not authorized"}
	case errors.Is(err, storage.ErrUnavailable), errors.Is(err, storage.ErrFull):
		return verdict{StatusCannotSend, "cannot retrieve now, try again later"}
	default:
		return verdict{StatusCannotUnderstand, "unable to process"}
	}
}
