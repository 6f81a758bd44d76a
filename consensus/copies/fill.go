package copies

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// fill brings a node the segments before those it is sent as they are written,
// the newest first: what waits to be acknowledged is in it. It ends when there
// is nothing to fill in.
func (k *Keeper) fill(ctx context.Context, t *target, hi hello, before uint64) error {
	if len(k.lacking(t.node, before)) == 0 {
		return nil
	}
	hi.live = false
	w, _, err := k.connect(ctx, t.node, hi)
	if err != nil {
		return err
	}
	defer w.conn.Close()
	group, gctx := errgroup.WithContext(ctx)
	k.converse(gctx, group, w, t, func(ctx context.Context) error { return k.fillAll(ctx, w, t, before) })
	return group.Wait()
}

func (k *Keeper) fillAll(ctx context.Context, w *wire, t *target, before uint64) error {
	skipped := map[uint64]bool{}
	for {
		list := slices.DeleteFunc(k.lacking(t.node, before), func(s journal.Segment) bool { return skipped[s.Number] })
		if len(list) == 0 {
			return k.settled(ctx, t.node, skipped)
		}
		s := list[len(list)-1]
		skipped[s.Number] = true // also when it cannot be sent
		err := k.send(ctx, w, t, s.Number, func(n int) {
			k.mu.Lock()
			k.filled += uint64(n)
			k.mu.Unlock()
		})
		if errors.Is(err, storage.ErrCorrupt) {
			k.o.Logger.Error("a damaged segment of the journal cannot be copied", "segment", s.Number, "error", err)
			continue
		}
		if err != nil {
			return err
		}
	}
}

// settled waits until the node has said that it has what it was sent.
func (k *Keeper) settled(ctx context.Context, node string, sent map[uint64]bool) error {
	look := time.NewTicker(k.o.Timing.Beat)
	defer look.Stop()
	for {
		waits := false
		for _, s := range k.journal.Segments() {
			waits = waits || sent[s.Number] && !s.Damaged && !k.extent(node, s.Number).Whole
		}
		if !waits {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-look.C:
		}
	}
}

// lacking lists the segments with entries before another that a node has not
// whole.
func (k *Keeper) lacking(node string, before uint64) (list []journal.Segment) {
	segments := k.journal.Segments()
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range segments {
		if s.Number < before && s.Entries > 0 && !s.Damaged && !k.has[node][s.Number].Whole {
			list = append(list, s)
		}
	}
	return list
}
