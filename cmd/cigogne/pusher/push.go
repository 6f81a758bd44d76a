// Package pusher moves DICOM files to a gateway: in parallel, again after a cut,
// and never what is there already. A file counts as stored when the gateway
// says that it is durable and has the digest of what was read here.
package pusher

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/esante-alsace/cigogne/cmd/cigogne/client"
	"github.com/esante-alsace/cigogne/cmd/cigogne/progress"
)

// Gateway is where files are pushed to.
type Gateway interface {
	Digester
	// Store sends the parts of a multipart body: see client.Client.
	Store(ctx context.Context, boundary string, body io.ReadCloser) (client.Receipts, error)
}

// Options say what is pushed, and how.
type Options struct {
	Gateway Gateway
	// Paths name files, folders and DICOMDIRs.
	Paths []string
	// Connections is how many requests are under way at a time.
	Connections int
	// RequestBytes is how much is sent in a request, at least: the gateway
	// answers, and a round trip is lost, once for each.
	RequestBytes int64
	// Patience is how long nothing may go on before the push gives up.
	Patience time.Duration
	Work     *progress.Work
}

// Outcome counts files.
type Outcome struct {
	Stored  int64 // durable now
	Present int64 // durable before
	Aside   int64 // durable, but kept aside: another Data Set has its name
	Refused int64 // not stored, for what they are
	Ignored int64 // in a folder: no DICOM files, DICOMDIRs, links
	Left    int64 // found and not sent, because the push ended
}

// push is a push under way.
type push struct {
	Options
	queue    *queue
	held     *held
	patience client.Patience
	buffers  sync.Pool

	toldAgain                                atomic.Int64 // when, in nanoseconds
	found                                    atomic.Int64
	stored, present, aside, refused, ignored atomic.Int64
}

// Run pushes until all files are dealt with. The error tells why it ended
// before; what was refused is in the outcome, and was told.
func Run(ctx context.Context, o Options) (Outcome, error) {
	p := &push{Options: o, queue: newQueue(), patience: client.Patience{Limit: o.Patience}}
	p.held = newHeld(o.Gateway, &p.buffers)
	p.patience.Began()
	p.Work.Step("push", progress.Amount{})
	f := &finder{}
	defer f.close()
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.count(gctx) })
	g.Go(func() error { return p.find(gctx, f) })
	for range max(1, o.Connections) {
		g.Go(func() error { return p.send(gctx) })
	}
	err := g.Wait()
	p.held.asking.Wait()
	out := Outcome{
		Stored: p.stored.Load(), Present: p.present.Load(), Aside: p.aside.Load(),
		Refused: p.refused.Load(), Ignored: p.ignored.Load(),
	}
	out.Left = p.found.Load() - out.Stored - out.Present - out.Aside - out.Refused - out.Ignored
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return out, err
}

// count tells how much there is to do.
func (p *push) count(ctx context.Context) error {
	f := &finder{}
	defer f.close()
	var all progress.Amount
	f.find(ctx, p.Paths, func(s source, _ error) bool {
		all.Items++
		all.Bytes += s.size
		return ctx.Err() == nil
	})
	if ctx.Err() == nil {
		p.Work.Total(all)
	}
	return nil
}

// find fills the queue.
func (p *push) find(ctx context.Context, f *finder) error {
	defer p.queue.end()
	head := bufio.NewReaderSize(nil, headBytes)
	f.find(ctx, p.Paths, func(s source, err error) bool {
		p.found.Add(1)
		var i *item
		if err == nil {
			i, err = inspect(s, head)
		}
		switch {
		case err == nil:
			i.study = p.held.ask(ctx, i.key.StudyInstanceUID)
			return p.queue.add(ctx, i)
		case ignorable(err) && !s.named:
			p.ignored.Add(1)
			text := ""
			if errors.Is(err, errLink) { // it may have been meant
				text = "ignored " + s.name + ": " + err.Error()
			}
			p.tell("ignored", s, text, slog.String("why", err.Error()))
		default:
			p.refused.Add(1)
			p.tell("refused", s, "refused "+s.name+": "+err.Error(), slog.String("why", err.Error()))
		}
		p.Work.Skip(1, s.size)
		return ctx.Err() == nil
	})
	return nil
}

// ignorable tells that nobody expects to find a file in the gateway that was
// not asked for by name.
func ignorable(err error) bool {
	return errors.Is(err, errForeign) || errors.Is(err, errDirectory) || errors.Is(err, errLink)
}

func (p *push) tell(event string, s source, text string, more ...slog.Attr) {
	p.Work.Tell(progress.Event{Name: event, Text: text, Fields: append([]slog.Attr{slog.String("file", s.name)}, more...)})
}

// refuse ends with an item that cannot be stored for what it is.
func (p *push) refuse(i *item, why string) {
	p.refused.Add(1)
	p.Work.Skip(1, i.size)
	p.tell("refused", i.source, "refused "+i.name+": "+why,
		slog.String("instance", i.key.SOPInstanceUID), slog.String("why", why))
	p.queue.settle(1)
}
