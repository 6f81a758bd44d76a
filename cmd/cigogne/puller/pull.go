// Package puller moves a study from a gateway to files: in parallel ranges,
// from where it was cut, and verified by the digest and the CRC-32 of each
// instance. What has its final name is whole.
package puller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/esante-alsace/cigogne/cmd/cigogne/client"
	"github.com/esante-alsace/cigogne/cmd/cigogne/progress"
	"github.com/esante-alsace/cigogne/gateway/dicomweb"
	"github.com/esante-alsace/cigogne/storage"
)

// Gateway is where a study is pulled from.
type Gateway interface {
	Digests(ctx context.Context, studyInstanceUID string) (dicomweb.Digests, error)
	// Zip begins to fetch a range of the study's ZIP file: see client.Client.
	Zip(ctx context.Context, studyInstanceUID, etag string, want storage.Range) (*client.Part, error)
}

// Options say what is pulled, and how.
type Options struct {
	Gateway          Gateway
	StudyInstanceUID string
	// Folder or ZIP is where it is put: instances as files below a folder, or
	// all of them in one file.
	Folder, ZIP string
	// Connections is how many ranges are under way at a time.
	Connections int
	Patience    *client.Patience
	Work        *progress.Work
}

// Outcome counts instances.
type Outcome struct {
	Pulled  int64 // fetched
	Present int64 // there before, and whole
	Left    int64 // not fetched, because the pull ended
}

const (
	copyBytes = 256 << 10
	// firstRange is what each connection asks for before the study's size is
	// known. Ranges of what remains are between the next two.
	firstRange, leastRange, mostRange = 4 << 20, 2 << 20, 64 << 20
	// mostAligned is how long an instance may be to whose end a range is
	// extended, so that one stream has all of it.
	mostAligned = 8 << 20
	// notedRange is after how much the ledger is told.
	notedRange = 1 << 20
	// mostPlans bounds how often a study may change during a pull, mostBad how
	// often an instance may come damaged.
	mostPlans, mostBad = 10, 3
)

// Run pulls a study. The error tells why it ended before all was there; it
// goes on there when it is called again. It is ErrLeftOut when all was fetched
// that can be.
func Run(ctx context.Context, o Options) (Outcome, error) {
	if !storage.ValidUID(o.StudyInstanceUID) {
		return Outcome{}, fmt.Errorf("%w: %q is not a UID", storage.ErrInvalid, o.StudyInstanceUID)
	}
	var at place = &folderPlace{root: o.Folder, study: o.StudyInstanceUID, sync: syncFolder}
	if o.ZIP != "" {
		at = &zipPlace{path: o.ZIP}
	}
	var out Outcome
	got := &fetched{all: map[member]bool{}}
	for plans := 1; ; plans++ {
		p := &pull{Options: o, place: at, fetched: got, planned: make(chan struct{}), spans: newSpans(1 << 62), leftOut: map[int]bool{}}
		err := p.run(ctx)
		if cerr := at.close(); err == nil {
			err = cerr
		}
		if p.plan != nil { // otherwise nobody knows what the study is now
			out = p.outcome()
		}
		if !errors.Is(err, client.ErrChanged) || plans == mostPlans {
			return out, err
		}
		o.Work.Tell(progress.Event{Name: "changed", Text: "the study changes: looking again what is in it"})
	}
}

// fetched is what was fetched, however often the study changed meanwhile.
type fetched struct {
	mu  sync.Mutex
	all map[member]bool
}

func (f *fetched) add(in member) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all[in] = true
}

func (f *fetched) has(in member) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.all[in]
}

// pull is a pull under way, of a study as it is.
type pull struct {
	Options
	place   place
	spans   *spans
	fetched *fetched

	planned chan struct{} // closed when plan is set
	plan    *plan
	known   atomic.Bool

	mu   sync.Mutex
	left []int64 // bytes of each instance that are not there
	bad  []int   // how often each came damaged

	leftOut map[int]bool // instances without which the pull goes on

	there []bool // which instances were, before
}

// outcome is that of a pull that has a plan, when nothing of it is under way.
func (p *pull) outcome() (out Outcome) {
	for i, in := range p.plan.Instances {
		switch {
		case p.fetched.has(memberOf(in)):
			out.Pulled++
		case p.there[i]:
			out.Present++
		default:
			out.Left++
		}
	}
	return out
}

func (p *pull) run(ctx context.Context) error {
	p.Patience.Began()
	p.Work.Step("pull", progress.Amount{})
	g, gctx := errgroup.WithContext(ctx)
	// What is there already says where to begin. Otherwise the first ranges
	// are asked for at once: over a long line it takes a while until the
	// digests are here, and the ranges wait for them.
	begun := p.place.begun()
	g.Go(func() error { return p.look(gctx) })
	for range max(1, p.Connections) {
		g.Go(func() error {
			if begun {
				if err := p.await(gctx); err != nil {
					return err
				}
			}
			return p.fetch(gctx)
		})
	}
	if err := g.Wait(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	p.Work.Step("sync", progress.Amount{})
	if err := p.place.finish(ctx, len(p.leftOut) == 0); err != nil || len(p.leftOut) == 0 {
		return err
	}
	return ErrLeftOut
}

// look asks what there is, and looks what of it is there.
func (p *pull) look(ctx context.Context) error {
	var d dicomweb.Digests
	for tries := 1; ; tries++ {
		var err error
		if d, err = p.Gateway.Digests(ctx, p.StudyInstanceUID); err == nil {
			break
		}
		if tries == 1 && errors.Is(err, storage.ErrUnavailable) && ctx.Err() == nil {
			p.Work.Tell(progress.Event{Name: "again", Text: "asked again: " + err.Error(), Fields: []slog.Attr{slog.String("why", err.Error())}})
		}
		if err := p.Patience.Wait(ctx, err, tries); err != nil {
			return err
		}
	}
	pl, err := newPlan(p.StudyInstanceUID, d)
	if err != nil {
		return err
	}
	p.plan, p.there = pl, make([]bool, len(pl.Instances)) // what is not looked at is not there
	whole, there, err := p.place.begin(ctx, pl)
	if err != nil {
		return err
	}
	p.prepare(pl, whole, there)
	close(p.planned)
	return nil
}

// prepare sets what is missing.
func (p *pull) prepare(pl *plan, whole []bool, there []storage.Range) {
	p.plan, p.there, p.left, p.bad = pl, whole, make([]int64, len(whole)), make([]int, len(whole))
	have := newSpans(pl.Size)
	for _, r := range there {
		have.remove(r)
	}
	total := progress.Amount{Items: int64(len(whole))}
	for i, ok := range whole {
		size := pl.Instances[i].Size
		total.Bytes += size
		if !ok {
			p.left[i] = have.within(pl.file(i))
			p.Work.Skip(0, size-p.left[i])
			continue
		}
		p.Work.Skip(1, size)
	}
	p.Work.Total(total)
	p.spans.remove(storage.Range{Offset: pl.Size, Length: 1<<62 - pl.Size})
	for _, r := range there {
		p.spans.remove(r)
	}
	p.known.Store(true)
}

// await waits for the plan.
func (p *pull) await(ctx context.Context) error {
	select {
	case <-p.planned:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// rangeFrom says how far a range should go that begins at an offset. The lock
// of spans is held.
func (p *pull) rangeFrom(remaining int64) func(from int64) int64 {
	return func(from int64) int64 {
		if !p.known.Load() {
			return from + firstRange
		}
		end := from + min(mostRange, max(leastRange, remaining/int64(2*max(1, p.Connections))))
		if i := p.plan.at(end); i < len(p.plan.Instances) {
			if in := p.plan.file(i); in.Offset < end && in.Length <= mostAligned {
				end = in.End()
			}
		}
		return end
	}
}

// fetch fetches range after range.
func (p *pull) fetch(ctx context.Context) error {
	failures := 0
	for {
		r, ok := p.spans.take(ctx, p.rangeFrom(p.spans.bytes()))
		if !ok {
			return nil
		}
		got, err := p.fetchRange(ctx, r)
		end := r.End()
		if p.known.Load() {
			end = min(end, p.plan.Size) // it was asked for before that was known
		}
		p.spans.settle(storage.Range{Offset: r.Offset + got, Length: end - r.Offset - got})
		if got > 0 {
			p.Patience.Succeeded()
			failures = 0
		}
		if err == nil || p.unreadable(ctx, r.Offset+got, err) {
			continue
		}
		failures++
		p.Work.Tell(progress.Event{Name: "again", Fields: []slog.Attr{slog.Int64("offset", r.Offset+got), slog.String("why", err.Error())}})
		if err := p.Patience.Wait(ctx, err, failures); err != nil {
			return err
		}
	}
}

// fetchRange fetches a range and says how much of it needs not be fetched
// again.
func (p *pull) fetchRange(ctx context.Context, r storage.Range) (int64, error) {
	etag := ""
	if p.known.Load() {
		etag = p.plan.ETag
	}
	part, err := p.Gateway.Zip(ctx, p.StudyInstanceUID, etag, r)
	if errors.Is(err, client.ErrBeyond) && etag == "" {
		return 0, p.beyond(ctx, r)
	}
	if err != nil {
		return 0, err
	}
	defer part.Close()
	if err := p.await(ctx); err != nil {
		return 0, err
	}
	if part.ETag != p.plan.ETag || part.Size != p.plan.Size {
		return 0, client.ErrChanged
	}
	w := p.newWriter(part.Range.Offset)
	err = w.copy(part, part.Range.End())
	if cerr := w.close(); err == nil {
		err = cerr
	}
	return w.at - part.Range.Offset, err
}

// beyond deals with a range that was asked for before the size was known: it
// is none.
func (p *pull) beyond(ctx context.Context, r storage.Range) error {
	if err := p.await(ctx); err != nil {
		return err
	}
	if r.Offset < p.plan.Size {
		return client.ErrChanged
	}
	return nil
}
