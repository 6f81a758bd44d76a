package copies

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/journal"
)

const (
	// aheadBytes is about what a slow line brings in a second: what stands
	// behind less than that need not care.
	aheadBytes = 8 << 20
	// aheadMost bounds the large files that go ahead of their records at a time:
	// each takes a share of the line from what is written meanwhile.
	aheadMost = 2
	// aheadTries is how often one is sent to one node.
	aheadTries = 2
)

// Ahead brings a large file to the nodes that are sent the journal, on
// connections of their own, before the journal has the record that refers to
// it: what is written meanwhile does not stand behind it. It is the journal's
// Options.Ahead, and returns when as many nodes as must have the file, or there
// are too few. Where a file does not come this way it goes in line, before its
// record.
func (k *Keeper) Ahead(ctx context.Context, f journal.LargeFile) {
	if f.Size < k.o.AheadBytes || k.o.Copies() == 0 {
		return
	}
	select {
	case k.ahead <- struct{}{}:
		defer func() { <-k.ahead }()
	case <-ctx.Done():
		return
	}
	tried := map[*target]int{}
	for {
		to, changed, over := k.lackAhead(f.ID, tried)
		if over {
			return
		}
		if len(to) == 0 { // a node is about to take the place of another
			look := time.NewTimer(k.o.Timing.Beat)
			select {
			case <-changed:
			case <-look.C:
			case <-ctx.Done():
			}
			look.Stop()
		}
		var all sync.WaitGroup
		for _, t := range to {
			tried[t]++
			all.Go(func() {
				if err := k.sendAhead(ctx, t, f); err != nil {
					k.o.Logger.Info("a large file does not come to a node ahead of its record", "node", t.node, "bytes", f.Size, "error", err)
				}
			})
		}
		all.Wait()
		if ctx.Err() != nil {
			return
		}
	}
}

// lackAhead lists the nodes that are to be sent a large file, and tells when
// that may have changed; over when no more can be done.
func (k *Keeper) lackAhead(id uint64, tried map[*target]int) (to []*target, changed <-chan struct{}, over bool) {
	want := k.o.Copies()
	k.mu.Lock()
	defer k.mu.Unlock()
	have, hope := 0, false
	for _, t := range k.targets {
		switch {
		case t.kept[id]:
			have++
		case !t.live:
			hope = true
		case tried[t] < aheadTries:
			to = append(to, t)
		}
	}
	over = have >= want || k.patience() <= 0 || len(to) == 0 && !hope
	return to, k.advanced, over
}

// sendAhead sends a large file to one node, and returns when it is durable
// there.
func (k *Keeper) sendAhead(ctx context.Context, t *target, f journal.LargeFile) error {
	k.mu.Lock()
	hi := hello{journal: k.id, session: t.session}
	k.mu.Unlock()
	w, _, err := k.connect(ctx, t.node, hi)
	if err != nil {
		return err
	}
	defer w.conn.Close()
	sent := make(chan struct{})
	group, gctx := errgroup.WithContext(ctx)
	k.converse(gctx, group, w, t, func(ctx context.Context) error {
		defer close(sent)
		body, err := f.Open()
		if err != nil {
			return err
		}
		defer body.Close()
		if err := sendLarge(w, frame{kind: kindLarge, segment: f.ID, offset: f.Size, more: true}, body); err != nil {
			return err
		}
		return k.awaitKept(ctx, t, f.ID)
	})
	group.Go(func() error {
		select {
		case <-t.ended:
			return fmt.Errorf("%w: the node is sent the journal no more", storage.ErrUnavailable)
		case <-gctx.Done():
		case <-sent:
		}
		return nil
	})
	return group.Wait()
}

// sendLarge sends a large file; head announces it.
func sendLarge(w *wire, head frame, body io.Reader) error {
	if err := w.send(head); err != nil {
		return err
	}
	chunk := make([]byte, 128<<10)
	for left := head.offset; left > 0; {
		n, err := io.ReadFull(body, chunk[:min(left, int64(len(chunk)))])
		if err != nil {
			return fmt.Errorf("reading a large file of the journal: %w", err)
		}
		if err := w.send(frame{kind: kindLargeBytes, bytes: chunk[:n]}); err != nil {
			return err
		}
		left -= int64(n)
	}
	return nil
}

// awaitKept waits until the node has said that it has a large file.
func (k *Keeper) awaitKept(ctx context.Context, t *target, id uint64) error {
	for {
		k.mu.Lock()
		kept, changed := t.kept[id], k.advanced
		k.mu.Unlock()
		if kept {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// noteKept notes that a node has a large file to which no record refers yet.
func (k *Keeper) noteKept(t *target, id uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	t.kept[id] = true
	k.wake()
}

// takeKept tells whether a large file went ahead of its record, which comes now.
func (k *Keeper) takeKept(t *target, id uint64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	kept := t.kept[id]
	delete(t.kept, id)
	return kept
}
