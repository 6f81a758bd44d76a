package pusher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/esante-alsace/cigogne/cmd/cigogne/client"
	"github.com/esante-alsace/cigogne/cmd/cigogne/progress"
	"github.com/esante-alsace/cigogne/storage"
)

const (
	// mostParts bounds the files of a request, and with them its answer.
	mostParts = 500
	// mostTries bounds how often a file is sent for which the gateway gives no
	// reason: it may be what breaks requests. From loneTries on it goes alone.
	mostTries, loneTries = 5, 2
	// mostCuts is the same while connections are cut, for which there are
	// other reasons.
	mostCuts = 100
	// linger is how long a request waits for another file while files are
	// still searched for.
	linger = 100 * time.Millisecond
)

// send sends request after request, each as long as there are files.
func (p *push) send(ctx context.Context) error {
	failures := 0
	for {
		first := p.needed(ctx, forever)
		if first == nil {
			return nil
		}
		err := p.request(ctx, first)
		if err == nil {
			failures = 0
			p.patience.Succeeded()
			continue
		}
		failures++
		if !elsewhere(err) && !hopeless(err) {
			err = fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
		}
		if err := p.patience.Wait(ctx, err, failures); err != nil {
			return err
		}
	}
}

// hopeless tells an error that every request would meet.
func hopeless(err error) bool {
	return errors.Is(err, storage.ErrForbidden) || errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrUnsupported)
}

// needed takes the next file that the gateway does not have.
func (p *push) needed(ctx context.Context, atMost time.Duration) *item {
	for {
		i := p.queue.take(ctx, atMost)
		if i == nil {
			return nil
		}
		has, err := p.held.has(ctx, i)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			p.refuse(i, err.Error())
		case has:
			p.present.Add(1)
			p.Work.Skip(1, i.size)
			p.tell("present", i.source, "", slog.String("instance", i.key.SOPInstanceUID))
			p.queue.settle(1)
		default:
			return i
		}
	}
}

// request sends one request that begins with an item. An error tells that what
// was not settled is to be tried again later; the items are back in the queue.
func (p *push) request(ctx context.Context, first *item) error {
	taken := first
	b := newBody(ctx, func(sent int64, parts int) *part {
		i := taken
		taken = nil
		if i == nil && (sent >= p.RequestBytes || parts >= mostParts || first.tries > loneTries) {
			return nil
		}
		if i == nil {
			i = p.needed(ctx, linger)
		}
		if i == nil {
			return nil
		}
		i.tries++
		return &part{item: i}
	})
	b.moved = func(n int) { p.Work.Add(0, int64(n)) }
	receipts, err := p.Gateway.Store(ctx, b.boundary, b)
	<-b.closed
	if taken != nil { // it was never begun
		b.parts = append(b.parts, &part{item: taken})
	}
	return p.settle(b, receipts, err)
}

// settle deals with what became of the parts of a request.
func (p *push) settle(b *body, receipts client.Receipts, err error) error {
	var again []*item
	for n, one := range b.parts {
		r, told := receipts[n]
		told = told && one.whole
		if told && r.Refused == "" && r.Digest == one.digest {
			p.durable(one.item, r)
			continue
		}
		p.Work.Add(0, -one.read)
		if one.err != nil {
			err = nil // it was this file that broke the request
		}
		why, final := verdict(one, r, told, err)
		if final {
			p.refuse(one.item, why)
			continue
		}
		if err == nil {
			err = fmt.Errorf("%w: %s", storage.ErrUnavailable, why)
		}
		p.held.forget(one.key.StudyInstanceUID)
		one.study = nil
		again = append(again, one.item)
	}
	if len(again) > 0 {
		p.queue.putBack(again)
		p.tellAgain(len(again), err)
	}
	return err
}

// verdict says why a part is not durable, and whether that is final.
func verdict(one *part, r client.Receipt, told bool, err error) (why string, final bool) {
	most := mostTries
	if elsewhere(err) {
		most = mostCuts
	}
	switch {
	case one.err != nil:
		return one.err.Error(), true
	case told && r.Refused != "":
		return r.Refused, !r.Again
	case told:
		return "the gateway stored other bytes than those that were sent", one.tries >= most
	case err != nil:
		return err.Error(), one.tries >= most
	}
	return "the gateway does not say what became of it", one.tries >= most
}

// elsewhere tells an error that says nothing about a file.
func elsewhere(err error) bool {
	return errors.Is(err, storage.ErrUnavailable) || errors.Is(err, storage.ErrFull)
}

// tellAgain tells that files are tried again, a person no more often than
// that it can be read.
func (p *push) tellAgain(n int, err error) {
	const every = 5 * time.Second
	why := "their request broke off"
	if err != nil {
		why = err.Error()
	}
	text := ""
	if now := time.Now().UnixNano(); now-p.toldAgain.Load() > int64(every) {
		p.toldAgain.Store(now)
		text = fmt.Sprintf("%s tried again: %s", english.Plural(n, "file is", "files are"), why)
	}
	p.Work.Tell(progress.Event{Name: "again", Text: text, Fields: []slog.Attr{slog.Int("files", n), slog.String("why", why)}})
}

func (p *push) durable(i *item, r client.Receipt) {
	p.Work.Add(1, 0)
	instance, digest := slog.String("instance", i.key.SOPInstanceUID), slog.String("blake3", r.Digest.String())
	switch {
	case r.Aside:
		p.aside.Add(1)
		p.tell("aside", i.source, "kept aside "+i.name+": another Data Set has its SOPInstanceUID, or its study is another patient's", instance, digest)
	case r.Present:
		p.present.Add(1)
		p.tell("present", i.source, "", instance, digest)
	default:
		p.stored.Add(1)
		p.tell("stored", i.source, "", instance, digest)
	}
	p.queue.settle(1)
}
