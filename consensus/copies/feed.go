package copies

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// rollBytes is how much of the active segment a node may lack without a new
// one being begun for it.
const rollBytes = 4 << 20

func newHello(id string) (h hello, err error) {
	b, err := hex.DecodeString(id)
	if err != nil || len(b) != len(h.journal) {
		return h, fmt.Errorf("%w: %q is no journal's id", storage.ErrInvalid, id)
	}
	copy(h.journal[:], b)
	return h, nil
}

// feed sends a node what is written from now on, and fills in what it lacks,
// until the node fails or ctx ends.
func (k *Keeper) feed(ctx context.Context, t *target) error {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	hi := hello{journal: k.id, session: binary.LittleEndian.Uint64(random[:]), live: true}
	w, has, err := k.connect(ctx, t.node, hi)
	if err != nil {
		return err
	}
	defer w.conn.Close()
	if err := k.compare(t.node, has); err != nil {
		return err
	}
	k.mu.Lock()
	k.has[t.node] = has
	k.mu.Unlock()
	k.advance()
	first, err := k.first(ctx, has)
	if err != nil {
		return err
	}
	k.mu.Lock()
	t.live, t.session = true, hi.session
	k.noteShort(k.o.Copies())
	k.mu.Unlock()
	k.o.Logger.Info("the journal is copied", "to", t.node, "from", first)

	group, gctx := errgroup.WithContext(ctx)
	k.converse(gctx, group, w, t, func(ctx context.Context) error { return k.live(ctx, w, t, first) })
	group.Go(func() error { return k.fill(gctx, t, hi, first) })
	return group.Wait()
}

// compare fails when a node has of the journal what this process did not send it,
// or what is not here any more: the disk, or the machine with its memory, was put
// back to what it was before, or lost what it had said to be safe. What is sent
// would cut what the node has, and what it has would count for what is written
// here now.
func (k *Keeper) compare(node string, has map[uint64]journal.Extent) error {
	segments := k.journal.Segments()
	for _, s := range segments {
		if e := has[s.Number]; s.Number < k.fresh && !s.Damaged && e.End > s.End {
			return k.older(e)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for number, e := range has {
		if number >= k.fresh && e.End > k.sent[node][number] {
			return k.older(e)
		}
	}
	// What neither has any more is never sent again.
	maps.DeleteFunc(k.sent[node], func(number uint64, _ int64) bool {
		_, there := has[number]
		return !there && len(segments) > 0 && number < segments[0].Number
	})
	return nil
}

// sends notes, before it is sent, up to where a node gets a segment.
func (k *Keeper) sends(node string, segment uint64, end int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.sent[node] == nil {
		k.sent[node] = map[uint64]int64{}
	}
	k.sent[node][segment] = max(k.sent[node][segment], end)
}

// older tells of a segment that another node has, and this one has not.
func (k *Keeper) older(e journal.Extent) error {
	if k.o.Older != nil {
		k.o.Older()
	}
	return fmt.Errorf("%w: it has segment %d of the journal up to %d, which is not here", storage.ErrConflict, e.Segment, e.End)
}

// connect begins a conversation, and returns what the node has.
func (k *Keeper) connect(ctx context.Context, node string, hi hello) (*wire, map[uint64]journal.Extent, error) {
	dctx, cancel := context.WithTimeout(ctx, k.o.Timing.Silence)
	defer cancel()
	conn, err := k.o.Dial(dctx, node)
	if err != nil {
		return nil, nil, err
	}
	w := newWire(conn, k.o.Timing)
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	has, err := k.introduce(w, hi)
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return w, has, nil
}

func (k *Keeper) introduce(w *wire, hi hello) (map[uint64]journal.Extent, error) {
	if err := w.send(frame{kind: kindHello, hello: hi}); err != nil {
		return nil, err
	}
	has := map[uint64]journal.Extent{}
	for more := true; more; {
		// The node may have to end another conversation, and to open the copy.
		f, err := w.next(k.o.Timing.Stall)
		if err != nil {
			return nil, err
		}
		if f.kind == kindRefused {
			return nil, k.refused(f.reason)
		}
		if f.kind != kindExtents {
			return nil, fmt.Errorf("%w: a conversation about copies is answered by a frame of kind %d", storage.ErrInvalid, f.kind)
		}
		for _, e := range f.extents {
			has[e.Segment] = e
		}
		more = f.more
	}
	return has, nil
}

// refused is what a node said that takes nothing more.
func (k *Keeper) refused(why refusal) error {
	switch why {
	case refusedRetired:
		if k.o.Retired != nil {
			k.o.Retired()
		}
		return journal.ErrRetired
	case refusedFull:
		return fmt.Errorf("%w: on the other node", storage.ErrFull)
	case refusedCorrupt:
		return fmt.Errorf("%w: the other node found what it was sent unsound", storage.ErrCorrupt)
	case refusedFailed:
	}
	return fmt.Errorf("%w: the other node failed", storage.ErrUnavailable)
}

// first is the segment from which on a node is sent all as it is written. When
// it lacks much of the active one, another is begun, so that what comes now
// does not wait for what came before.
func (k *Keeper) first(ctx context.Context, has map[uint64]journal.Extent) (uint64, error) {
	active, ok := k.active()
	if ok && active.End-has[active.Number].End > rollBytes {
		if err := k.journal.Seal(ctx); err != nil {
			return 0, err
		}
		active, ok = k.active()
	}
	if !ok {
		return 0, fmt.Errorf("%w: the journal takes nothing", storage.ErrUnavailable)
	}
	return active.Number, nil
}

func (k *Keeper) active() (journal.Segment, bool) {
	list := k.journal.Segments()
	if n := len(list); n > 0 && !list[n-1].Sealed {
		return list[n-1], true
	}
	return journal.Segment{}, false
}

// converse sends, listens, and shows that this node is there.
func (k *Keeper) converse(ctx context.Context, g *errgroup.Group, w *wire, t *target, send func(context.Context) error) {
	over := make(chan struct{})
	g.Go(func() error {
		defer w.conn.Close() // it ends the listening, too
		defer close(over)
		return send(ctx)
	})
	g.Go(func() error {
		stop := context.AfterFunc(ctx, func() { w.conn.Close() })
		defer stop()
		err := k.listen(w, t)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		select {
		case <-over: // it was ended here
			return nil
		default:
			return err
		}
	})
	g.Go(func() error {
		tick := time.NewTicker(k.o.Timing.Beat)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-over:
				return nil
			case <-tick.C:
				if err := w.send(frame{kind: kindPing}); err != nil {
					return err
				}
			}
		}
	})
}

// listen takes in what a node says it has. It fails when nothing is heard of
// it, or when it takes in nothing of what it is sent.
func (k *Keeper) listen(w *wire, t *target) error {
	var received int64
	moved := time.Now() // when it took something in last; this node shows itself all the time
	for {
		f, err := w.next(k.o.Timing.Silence)
		if err != nil {
			return fmt.Errorf("nothing is heard of it: %w", err)
		}
		switch f.kind {
		case kindAck:
			moved = k.movesOn()
			k.note(t.node, journal.Extent{Segment: f.segment, End: f.offset, Whole: f.more})
		case kindKept:
			moved = k.movesOn()
			k.noteKept(t, f.segment)
		case kindPong:
			if f.offset != received {
				received, moved = f.offset, k.movesOn()
			}
		case kindRefused:
			return k.refused(f.reason)
		default:
			return fmt.Errorf("%w: a frame of kind %d", storage.ErrInvalid, f.kind)
		}
		if time.Since(moved) > k.o.Timing.Stall {
			return fmt.Errorf("%w: it takes nothing in", storage.ErrUnavailable)
		}
	}
}

// movesOn notes that a node takes in what it is sent.
func (k *Keeper) movesOn() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.moved = time.Now()
	return k.moved
}

// note takes in how far a segment has come. What is whole stays so: that its
// last bytes are durable may be said after it.
func (k *Keeper) note(node string, e journal.Extent) {
	k.mu.Lock()
	if has := k.has[node]; has != nil && !has[e.Segment].Whole {
		has[e.Segment] = e
	}
	k.mu.Unlock()
	k.advance()
}

func (k *Keeper) extent(node string, segment uint64) journal.Extent {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.has[node][segment]
}

// live sends a segment and all that come after it, as they are written.
func (k *Keeper) live(ctx context.Context, w *wire, t *target, number uint64) error {
	for {
		if err := k.send(ctx, w, t, number, nil); err != nil {
			return err
		}
		next, err := k.after(ctx, number)
		if err != nil {
			return err
		}
		number = next
	}
}

// after waits for the segment that follows on another.
func (k *Keeper) after(ctx context.Context, number uint64) (uint64, error) {
	for {
		list, changed := k.journal.Watch()
		for _, s := range list {
			if s.Number > number && (s.End > 0 && !s.Sealed || s.Entries > 0) {
				return s.Number, nil
			}
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-changed:
		}
	}
}

// send sends one segment to its end, from where the node has it.
func (k *Keeper) send(ctx context.Context, w *wire, t *target, number uint64, sent func(int)) error {
	has := k.extent(t.node, number)
	if has.Whole {
		return nil
	}
	f, err := k.journal.Follow(number, has.End)
	if errors.Is(err, storage.ErrNotFound) {
		return nil // nobody needs it any more
	}
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		p, err := f.Next(ctx)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, storage.ErrNotFound):
			return nil
		case err != nil:
			return err
		}
		if sent != nil {
			sent(len(p.Bytes) + int(p.Size))
		}
		if err := k.sendPiece(w, t, number, p); err != nil {
			return err
		}
	}
}

func (k *Keeper) sendPiece(w *wire, t *target, number uint64, p journal.Piece) error {
	switch p.Kind {
	case journal.PieceBytes:
		k.sends(t.node, number, p.Offset+int64(len(p.Bytes)))
		return w.send(frame{kind: kindBytes, segment: number, offset: p.Offset, bytes: p.Bytes})
	case journal.PieceEnd:
		return w.send(frame{kind: kindEnd, segment: number, offset: p.Offset})
	case journal.PieceLarge:
	}
	defer p.Body.Close()
	if k.takeKept(t, p.Large) {
		return nil
	}
	return sendLarge(w, frame{kind: kindLarge, segment: p.Large, offset: p.Size}, p.Body)
}
