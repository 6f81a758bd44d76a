package copies

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/journal"
)

const (
	// helloTimeout bounds the beginning of a conversation.
	helloTimeout = 10 * time.Second
	// beatsMissed is how many beats of the sender may be missing.
	beatsMissed = 40
)

// Serve takes what a node sends of its journal until the connection ends. It
// returns nil when that was in order.
func (h *Holder) Serve(ctx context.Context, conn net.Conn, node string) error {
	w := newWire(conn, h.o.Timing)
	f, err := w.next(helloTimeout)
	if err != nil {
		return err
	}
	if f.kind != kindHello {
		return fmt.Errorf("%w: a conversation about copies begins with a frame of kind %d", storage.ErrInvalid, f.kind)
	}
	k, err := h.greet(ctx, conn, f.hello)
	if err != nil {
		refuse(w, err)
		return err
	}
	defer k.leave(conn)
	t := &taker{wire: w, held: k, dirty: make(chan struct{}, 1), changed: map[uint64]bool{}}
	err = t.run(ctx)
	if err != nil && !errors.Is(err, io.EOF) && ctx.Err() == nil {
		refuse(w, err)
		return fmt.Errorf("copy of journal %s of node %s: %w", k.ID(), node, err)
	}
	return ctx.Err()
}

// greet lets a node in that sends its journal.
func (h *Holder) greet(ctx context.Context, conn net.Conn, hi hello) (*held, error) {
	retired, err := h.o.Retired(ctx, hi.id())
	if err != nil {
		return nil, err
	}
	if retired {
		return nil, journal.ErrRetired
	}
	k, err := h.open(ctx, hi.id())
	if err != nil {
		return nil, err
	}
	if err := k.enter(conn, hi); err != nil {
		return nil, err
	}
	return k, nil
}

// refuse tells why nothing more is taken; the connection is about to end.
func refuse(w *wire, err error) {
	f := frame{kind: kindRefused, reason: refusedFailed}
	switch {
	case errors.Is(err, journal.ErrRetired):
		f.reason = refusedRetired
	case errors.Is(err, storage.ErrFull):
		f.reason = refusedFull
	case errors.Is(err, storage.ErrCorrupt), errors.Is(err, storage.ErrInvalid):
		f.reason = refusedCorrupt
	}
	_ = w.send(f) // it may be gone
}

// taker takes what comes over one connection. One goroutine writes, one makes
// durable what was written and says so, one shows that the node is there.
type taker struct {
	*wire
	held    *held
	dirty   chan struct{} // capacity 1: there is something to make durable
	mu      sync.Mutex
	changed map[uint64]bool // segments written since the last Sync
}

func (t *taker) run(ctx context.Context) (err error) {
	touched := map[uint64]bool{}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(ctx, func() { t.conn.Close() })
	defer stop()
	var beside sync.WaitGroup
	defer func() {
		cancel(err)
		beside.Wait()
		for number := range touched {
			t.held.GiveUp(number)
		}
		if cause := context.Cause(ctx); cause != nil && err == nil {
			err = cause
		}
	}()
	if err := t.tell(); err != nil {
		return err
	}
	for _, f := range []func(context.Context) error{t.settle, t.beat} {
		beside.Go(func() {
			if err := f(ctx); err != nil {
				cancel(err)
			}
		})
	}
	for {
		f, err := t.next(beatsMissed * t.timing.Beat)
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			return err
		}
		if err := t.take(ctx, f, touched); err != nil {
			return err
		}
	}
}

// tell says what is here of the journal.
func (t *taker) tell() error {
	all := t.held.Extents()
	for {
		n := min(len(all), extentsMost)
		f := frame{kind: kindExtents, extents: all[:n], more: n < len(all)}
		if err := t.send(f); err != nil {
			return err
		}
		if all = all[n:]; !f.more {
			return nil
		}
	}
}

// take writes one frame.
func (t *taker) take(ctx context.Context, f frame, touched map[uint64]bool) error {
	switch f.kind {
	case kindPing:
		return nil
	case kindBytes:
		touched[f.segment] = true
		if err := t.held.Write(ctx, f.segment, f.offset, f.bytes); err != nil {
			return err
		}
		t.mark(f.segment)
		return nil
	case kindLarge:
		err := t.held.WriteLarge(ctx, f.segment, f.offset, &largeReader{wire: t.wire, wait: beatsMissed * t.timing.Beat})
		if err != nil || !f.more {
			return err
		}
		return t.send(frame{kind: kindKept, segment: f.segment, offset: f.offset})
	case kindEnd:
		touched[f.segment] = true
		if err := t.held.End(ctx, f.segment, f.offset); err != nil {
			return err
		}
		return t.send(frame{kind: kindAck, segment: f.segment, offset: f.offset, more: true})
	default:
		return fmt.Errorf("%w: a frame of kind %d", storage.ErrInvalid, f.kind)
	}
}

func (t *taker) mark(segment uint64) {
	t.mu.Lock()
	t.changed[segment] = true
	t.mu.Unlock()
	select {
	case t.dirty <- struct{}{}:
	default: // it is told already
	}
}

// settle makes durable what is written, and what came meanwhile with the next
// turn.
func (t *taker) settle(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.dirty:
		}
		t.mu.Lock()
		changed := t.changed
		t.changed = map[uint64]bool{}
		t.mu.Unlock()
		for number := range changed {
			end, err := t.held.Sync(number)
			if err != nil {
				return err
			}
			if err := t.send(frame{kind: kindAck, segment: number, offset: end}); err != nil {
				return err
			}
		}
	}
}

// beat shows that the node is there, whatever its disk does.
func (t *taker) beat(ctx context.Context) error {
	tick := time.NewTicker(t.timing.Beat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := t.send(frame{kind: kindPong, offset: t.read.Load()}); err != nil {
				return err
			}
		}
	}
}

// largeReader is the content of a large file, out of its frames.
type largeReader struct {
	*wire
	wait time.Duration
	left []byte
}

func (r *largeReader) Read(p []byte) (int, error) {
	for len(r.left) == 0 {
		f, err := r.next(r.wait)
		switch {
		case err != nil:
			return 0, unexpected(err)
		case f.kind == kindPing:
		case f.kind == kindLargeBytes:
			r.left = f.bytes
		default:
			return 0, fmt.Errorf("%w: a frame of kind %d within a large file", storage.ErrInvalid, f.kind)
		}
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}
