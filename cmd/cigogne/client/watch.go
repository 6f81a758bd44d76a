package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/esante-alsace/cigogne/storage"
)

// errStalled is why a request ends that stands still.
var errStalled = errors.New("the transfer stands still")

// watch ends a request that stands still.
type watch struct {
	timer  *time.Timer
	stall  time.Duration
	cancel context.CancelCauseFunc
}

func (c *Client) watch(ctx context.Context) (context.Context, *watch) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watch{stall: c.stall, cancel: cancel}
	w.timer = time.AfterFunc(c.stall, func() { cancel(errStalled) })
	return ctx, w
}

// moved tells that the request goes on.
func (w *watch) moved() { w.timer.Reset(w.stall) }

// end gives the request's context back.
func (w *watch) end() {
	w.timer.Stop()
	w.cancel(nil)
}

// watched is a body that is read under a watch, which ends with it.
type watched struct {
	io.ReadCloser
	w *watch
}

// Read implements io.Reader.
func (b watched) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.w.moved()
	}
	return n, err
}

// Close implements io.Closer.
func (b watched) Close() error {
	defer b.w.end()
	return b.ReadCloser.Close()
}

// sent is a body that is sent under a watch, which outlives it: the answer is
// still to come.
type sent struct {
	io.ReadCloser
	w *watch
}

// Read implements io.Reader.
func (b sent) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.w.moved()
	return n, err
}

// WriteTo implements io.WriterTo, so that large pieces are sent at once.
func (b sent) WriteTo(w io.Writer) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{b}, make([]byte, bufferBytes))
}

// Patience says how long a transfer tries again while nothing succeeds.
type Patience struct {
	// Limit is how long nothing may succeed.
	Limit time.Duration

	mu   sync.Mutex
	last time.Time // when something succeeded
}

// Began starts the clock of Limit: a transfer begins.
func (p *Patience) Began() { p.Succeeded() }

// Succeeded starts the clock of Limit anew: something came through.
func (p *Patience) Succeeded() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = time.Now()
}

// The pauses between tries begin and end with these.
const (
	firstPause = 100 * time.Millisecond
	longPause  = 5 * time.Second
)

// Wait pauses before a request is tried again that failed tries times in
// sequence: twice as long each time, or as long as the gateway asked for. It
// returns nil when it may be tried, and err when that makes no sense: it is
// not storage.ErrUnavailable or ErrFull, or patience is at its end.
func (p *Patience) Wait(ctx context.Context, err error, tries int) error {
	if !errors.Is(err, storage.ErrUnavailable) && !errors.Is(err, storage.ErrFull) {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	p.mu.Lock()
	waited := time.Since(p.last)
	p.mu.Unlock()
	if waited > p.Limit {
		return fmt.Errorf("nothing went on for %v: %w", waited.Round(time.Second), err)
	}
	pause := min(longPause, firstPause<<min(max(tries-1, 0), 10))
	var r *Refusal
	if errors.As(err, &r) {
		pause = max(pause, r.RetryAfter)
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
