package dimse

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/dimse/pdu"
	"github.com/esante-alsace/cigogne/storage"
)

// transportMove and transportGet are how retrievals are recorded.
const (
	transportMove = "c-move"
	transportGet  = "c-get"
)

// move performs a C-MOVE (PS3.4 §C.4.2): instances go to the Move Destination
// over associations of our own.
func move(ctx context.Context, o *operation) response {
	a, rq := o.association, &o.message.command
	cfg := &a.server.cfg
	address := cfg.Destinations.Address(rq.MoveDestination)
	if address == "" {
		a.log.Warn("the move destination has no address", "destination", clip(rq.MoveDestination))
		return response{verdict: verdict{StatusUnknownDestination, "no address of the Move Destination is known"}}
	}
	m := &mover{
		address: address,
		scu: SCUConfig{
			CallingAETitle: a.who.CalledAETitle, CalledAETitle: rq.MoveDestination,
			AsyncWindow: cfg.AsyncWindow, MaxPDULength: cfg.MaxPDULength,
			ARTIM: cfg.ARTIM, ResponseTimeout: cfg.SuboperationTimeout, WriteTimeout: cfg.WriteTimeout,
		},
		originator: a.who.CallingAETitle, message: rq.MessageID,
	}
	return o.retrieve(ctx, storage.Origin{
		Transport: transportMove, CallingAETitle: a.who.CallingAETitle, CalledAETitle: rq.MoveDestination, RemoteAddr: address,
	}, m.carry)
}

// mover sends the instances of a C-MOVE to its destination.
type mover struct {
	address    string
	scu        SCUConfig // without its contexts
	originator string    // who asked, in which message
	message    uint16
}

// carry is a carrier: it needs more than one association when the instances
// need more presentation contexts than one has.
func (m *mover) carry(ctx context.Context, instances []gateway.Instance, canceled <-chan struct{}, tell func(suboperation)) {
	for _, load := range loads(instances, tell) {
		m.deliver(ctx, load.contexts, &queue{waiting: gateway.InOrder(ctx, load.instances), canceled: canceled}, tell)
	}
}

// load is what one association can carry.
type load struct {
	contexts  []ProposedContext
	instances []gateway.Instance
}

// loads parts instances, which stay in their order. Each is sent as it is
// stored, so that each SOP class has a context for each transfer syntax; those
// that have no proper name for either cannot be sent.
func loads(instances []gateway.Instance, tell func(suboperation)) []*load {
	var all []*load
	of := map[presentation]*load{}
	for _, in := range instances {
		about := in.About()
		pc := presentation{abstractSyntax: about.SOPClassUID, transferSyntax: about.TransferSyntaxUID}
		if !storage.ValidUID(pc.abstractSyntax) || !storage.ValidUID(pc.transferSyntax) {
			tell(suboperation{instance: about, err: fmt.Errorf("%w: SOP class or transfer syntax is no UID", storage.ErrUnsupported)})
			continue
		}
		if of[pc] == nil {
			if len(all) == 0 || len(all[len(all)-1].contexts) == pdu.MaxContexts {
				all = append(all, &load{})
			}
			last := all[len(all)-1]
			last.contexts = append(last.contexts, ProposedContext{AbstractSyntax: pc.abstractSyntax, TransferSyntaxes: []string{pc.transferSyntax}})
			of[pc] = last
		}
		of[pc].instances = append(of[pc].instances, in)
	}
	return all
}

const (
	// mostTries is how often an instance is sent on whose way the association
	// ended: it may be why. The second time nothing else is on its way.
	mostTries = 2
	// mostFutile is how many associations one after the other may end before
	// anything became of a single instance: each may have met one that its peer
	// cannot bear. One that does not come to be, or at whose end nobody
	// answers, is counted as slow ones, and that an instance has failed in it is
	// nothing that became of one.
	mostFutile, slow = 6, 3
)

// deliver sends a load. An association that breaks is opened again, for what
// was not answered: a C-STORE may come twice.
func (m *mover) deliver(ctx context.Context, contexts []ProposedContext, q *queue, tell func(suboperation)) {
	d := &delivery{mover: m, queue: q, tell: tell, tries: map[string]int{}}
	scu := m.scu
	scu.Contexts = contexts
	for futile := 0; q.more() && ctx.Err() == nil; {
		a, err := m.dial(ctx, scu)
		if err == nil {
			err = d.over(ctx, a)
		}
		answered, decided := d.answered.Swap(0), d.decided.Swap(0)
		switch {
		case err == nil:
			return
		case answered > 0, decided > 0 && !silent(err):
			futile = 0
		case errors.Is(err, ErrAborted):
			futile++
		default:
			futile += slow
		}
		if futile >= mostFutile || errors.Is(err, ErrRejected) {
			d.giveUp(err)
		}
	}
}

// silent tells of an association whose end was that the peer neither answered
// nor read.
func silent(err error) bool {
	return errors.Is(err, ErrIdle) || errors.Is(err, os.ErrDeadlineExceeded)
}

func (m *mover) dial(ctx context.Context, scu SCUConfig) (*Association, error) {
	ctx, cancel := context.WithTimeout(ctx, scu.ARTIM)
	defer cancel()
	return Dial(ctx, m.address, scu)
}

// delivery is the sending of one load.
type delivery struct {
	*mover
	queue *queue
	tell  func(suboperation)
	// Since the association was opened: the instances of which it is known what
	// became of them, and those that the peer answered.
	decided, answered atomic.Int64

	mu    sync.Mutex
	tries map[string]int // of those in flight when one ended, by SOPInstanceUID
	err   error          // why it ended
}

// over sends over an association, one instance after the other while others
// wait for their answer, to the end of the queue or of the association, which
// is an error. An instance on whose way one ended is sent alone.
func (d *delivery) over(ctx context.Context, a *Association) error {
	d.err = nil
	var answers sync.WaitGroup
	for d.ended() == nil {
		in, ok := d.queue.next()
		if !ok {
			break
		}
		alone := d.tried(in.About().Key.SOPInstanceUID, 0) > 0
		if alone {
			answers.Wait()
		}
		d.send(ctx, a, in, &answers)
		if alone {
			answers.Wait()
		}
	}
	answers.Wait()
	if err := d.ended(); err != nil {
		a.Abort()
		return err
	}
	if err := a.Release(ctx); err != nil {
		a.Abort() // all is answered
	}
	return nil
}

// send sends an instance, and leaves its answer to a goroutine in answers.
func (d *delivery) send(ctx context.Context, a *Association, in gateway.Instance, answers *sync.WaitGroup) {
	o := suboperation{instance: in.About()}
	if o.err = d.refused(a, o.instance); o.err != nil {
		d.conclude(o)
		return
	}
	body, err := openDataSet(ctx, in)
	if err != nil {
		o.err = err
		d.conclude(o)
		return
	}
	answer, sent, err := a.offer(ctx, d.request(o.instance, body))
	_ = body.Close() // it was read
	switch {
	case body.err != nil: // and the association is aborted
		o.err = body.err
		d.conclude(o)
		d.end(err)
	case err != nil && !sent:
		d.queue.first(in)
		d.end(err)
	case err != nil:
		d.again(in, err)
	default:
		answers.Go(func() {
			rsp, err := a.await(ctx, answer)
			if err != nil {
				d.again(in, err)
				return
			}
			o.status = rsp.Status
			d.answered.Add(1)
			d.conclude(o)
		})
	}
}

// refused tells why an instance cannot be offered.
func (d *delivery) refused(a *Association, in storage.Instance) error {
	switch {
	case !storage.ValidUID(in.Key.SOPInstanceUID):
		return fmt.Errorf("%w: SOPInstanceUID is no UID", storage.ErrUnsupported)
	case !a.Accepts(in.SOPClassUID, in.TransferSyntaxUID):
		return ErrNoContext
	default:
		return nil
	}
}

func (d *delivery) request(in storage.Instance, body io.Reader) StoreRequest {
	return StoreRequest{
		SOPClassUID: in.SOPClassUID, SOPInstanceUID: in.Key.SOPInstanceUID, TransferSyntaxUID: in.TransferSyntaxUID,
		DataSet: body, MoveOriginatorAETitle: d.originator, MoveOriginatorMessageID: d.message,
	}
}

// conclude tells what became of an instance.
func (d *delivery) conclude(o suboperation) {
	d.decided.Add(1)
	d.tell(o)
}

// again takes an instance of which nothing is known, because the association
// ended: it is sent once more, unless that happened too often.
func (d *delivery) again(in gateway.Instance, why error) {
	d.end(why)
	o := suboperation{instance: in.About(), err: why}
	if d.tried(o.instance.Key.SOPInstanceUID, 1) < mostTries {
		d.queue.again(in)
		return
	}
	d.conclude(o)
}

// tried is how often an association ended with an instance on its way, and so
// many times more.
func (d *delivery) tried(uid string, more int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if more > 0 {
		d.tries[uid] += more
	}
	return d.tries[uid]
}

// end notes why the association ended.
func (d *delivery) end(why error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = cmp.Or(d.err, why)
}

func (d *delivery) ended() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// giveUp tells of all that was not sent that it cannot be.
func (d *delivery) giveUp(why error) {
	for in, ok := d.queue.next(); ok; in, ok = d.queue.next() {
		d.tell(suboperation{instance: in.About(), err: why})
	}
}
