package dimse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

// mostSuboperations is how many instances one retrieval may send: their number
// is a US in the responses (PS3.7 §9.1.4).
const mostSuboperations = math.MaxUint16

// suboperations count the C-STOREs of a C-MOVE or C-GET (PS3.4 §C.4.2.1.6 to
// §C.4.2.1.9).
type suboperations struct {
	remaining, completed, failed, warning int
}

// append appends them to a response. What remains is only said of a retrieval
// that goes on or was cancelled: others have ended.
func (s *suboperations) append(b []byte, status Status) []byte {
	if status == StatusPending || status == StatusCanceled {
		b = appendUS(b, elementRemainingSuboperations, uint16(s.remaining))
	}
	b = appendUS(b, elementCompletedSuboperations, uint16(s.completed))
	b = appendUS(b, elementFailedSuboperations, uint16(s.failed))
	return appendUS(b, elementWarningSuboperations, uint16(s.warning))
}

// count takes one that has ended.
func (s *suboperations) count(o suboperation) {
	s.remaining--
	switch {
	case o.failed():
		s.failed++
	case o.status != StatusSuccess:
		s.warning++
	default:
		s.completed++
	}
}

// verdict is the status of the final response (PS3.4 §C.4.2.1.5, §C.4.3.1.4).
func (s *suboperations) verdict(canceled bool) verdict {
	switch {
	case canceled && s.remaining > 0:
		return verdict{StatusCanceled, "cancelled"}
	case s.failed > 0 && s.completed+s.warning == 0:
		return verdict{StatusCannotSend, "no instance could be sent"}
	case s.failed > 0:
		return verdict{StatusSuboperationsFailed, "some instances could not be sent"}
	case s.warning > 0:
		return verdict{StatusSuboperationsFailed, "some instances were taken with a warning"}
	default:
		return verdict{status: StatusSuccess}
	}
}

// suboperation is what became of one instance.
type suboperation struct {
	instance storage.Instance
	status   Status // that the peer answered
	err      error  // why it did not come to that
}

func (o suboperation) failed() bool { return o.err != nil || o.status.Failed() }

// reason says for the log why it failed.
func (o suboperation) reason() error {
	if o.err != nil {
		return o.err
	}
	return fmt.Errorf("the peer answered with status %s", o.status)
}

// queue hands out the instances of a retrieval that are still to be sent, until
// the retrieval is cancelled.
type queue struct {
	canceled <-chan struct{}

	mu      sync.Mutex
	waiting []gateway.Instance
}

// next takes one, if there is one.
func (q *queue) next() (gateway.Instance, bool) {
	if !q.more() {
		return nil, false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return nil, false
	}
	in := q.waiting[0]
	q.waiting = q.waiting[1:]
	return in, true
}

// more tells whether there is one to be taken.
func (q *queue) more() bool {
	select {
	case <-q.canceled:
		return false
	default:
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting) > 0
}

// first puts one back that was taken and not begun.
func (q *queue) first(in gateway.Instance) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append([]gateway.Instance{in}, q.waiting...)
}

// again puts one back that was taken, behind the others.
func (q *queue) again(in gateway.Instance) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, in)
}

// dataSet is the bare Data Set of an instance while it is read. All of the
// stored form is: only a whole is held against its checksum. What is short is
// storage.ErrCorrupt.
type dataSet struct {
	io.ReadCloser
	left   int64
	padded bool  // a zero byte is due
	err    error // of reading
}

// openDataSet opens the Data Set where the instance lies.
func openDataSet(ctx context.Context, in gateway.Instance) (*dataSet, error) {
	about := in.About()
	body, err := in.Open(ctx, storage.Range{Length: about.Size})
	if err != nil {
		return nil, err
	}
	if _, err := io.CopyN(io.Discard, body, about.Prefix); err != nil {
		return nil, errors.Join(err, body.Close())
	}
	d := &dataSet{ReadCloser: body, left: about.Size - about.Prefix}
	d.padded = d.left%2 == 1 && dicom.LookupTransferSyntax(about.TransferSyntaxUID).Deflated
	return d, nil
}

// Read implements io.Reader. A deflated Data Set of odd length, as files may
// have it, gets the zero byte behind it that messages must have (PS3.5 §A.5):
// some peers abort an association at an odd fragment.
func (d *dataSet) Read(p []byte) (int, error) {
	if d.left == 0 && d.padded && len(p) > 0 {
		p[0], d.padded = 0, false
		return 1, nil
	}
	n, err := d.ReadCloser.Read(p)
	d.left -= int64(n)
	switch {
	case errors.Is(err, io.EOF) && d.left != 0, d.left < 0:
		err = fmt.Errorf("%w: a Data Set is not as long as it was stored, by %d bytes", storage.ErrCorrupt, d.left)
	case errors.Is(err, io.EOF) && d.padded:
		return n, nil
	case errors.Is(err, io.EOF):
		return n, io.EOF
	}
	d.err = err
	return n, err
}

const (
	// tellEvery is how often a requestor is told how far its retrieval is, and
	// tellAtLeast how often when there is nothing new: some give up when they
	// hear nothing.
	tellEvery   = time.Second
	tellAtLeast = 10 * time.Second
)

// carrier sends instances, and tells what became of each, from any goroutine.
// It returns when there are no more, or when canceled is closed and those in
// flight were answered. What it does not tell of was not sent.
type carrier func(ctx context.Context, instances []gateway.Instance, canceled <-chan struct{}, tell func(suboperation))

// carry has instances sent and counts them. It calls ended with each that was,
// and pending now and then, until that fails because nobody listens: then no
// more are sent. It returns when the carrier has.
func (s *suboperations) carry(ctx context.Context, send func(context.Context, func(suboperation)), ended func(suboperation), pending func() error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	results := make(chan suboperation)
	go func() {
		defer close(results)
		send(ctx, func(o suboperation) { results <- o })
	}()
	ticks := time.NewTicker(tellEvery)
	defer ticks.Stop()
	told, news := time.Time{}, true
	for listens := true; ; {
		if listens && (news && time.Since(told) >= tellEvery || time.Since(told) >= tellAtLeast) {
			if pending() != nil {
				listens = false
				stop()
			}
			told, news = time.Now(), false
		}
		select {
		case o, more := <-results:
			if !more {
				return
			}
			s.count(o)
			ended(o)
			news = true
		case <-ticks.C:
		}
	}
}
