package copies

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// target is a node that is sent the journal.
type target struct {
	node   string
	cancel context.CancelFunc
	ended  chan struct{}
	// Guarded by Keeper.mu.
	live    bool // connected, and what is written now comes there
	session uint64
	kept    map[uint64]bool // large files that went ahead of their records
	err     error
}

// manage sees to it that as many nodes as must are sent the journal.
func (k *Keeper) manage(ctx context.Context) {
	others, want := k.o.Others(), k.o.Copies()
	k.mu.Lock()
	for node := range k.has {
		if !slices.Contains(others, node) { // it was removed: what it has counts no more
			delete(k.has, node)
		}
	}
	running := 0
	for node, t := range k.targets {
		select {
		case <-t.ended:
			delete(k.targets, node)
			continue
		default:
		}
		if !slices.Contains(others, node) || running >= want {
			t.cancel()
			continue
		}
		running++
	}
	for _, node := range k.candidates(others) {
		if running >= want {
			break
		}
		k.start(ctx, node)
		running++
	}
	k.noteShort(want)
	k.mu.Unlock()
	k.advance() // fewer may be enough now
}

// noteShort notes since when there are too few; mu is held.
func (k *Keeper) noteShort(want int) {
	enough := k.liveTargets() >= want
	switch {
	case enough && !k.short.IsZero():
		k.short = time.Time{}
		k.wake()
	case !enough && k.short.IsZero():
		k.short = time.Now()
		k.wake()
	}
}

// candidates are the nodes to try next: those after this one in the ring of
// names first, of those that failed a moment ago the one that did so longest
// ago; mu is held.
func (k *Keeper) candidates(others []string) []string {
	list := slices.Clone(others)
	slices.SortFunc(list, func(a, b string) int {
		return cmp.Or(boolCompare(a < k.o.Node, b < k.o.Node), cmp.Compare(a, b))
	})
	list = slices.DeleteFunc(list, func(n string) bool { return k.targets[n] != nil })
	slices.SortStableFunc(list, func(a, b string) int { return k.failedAt(a).Compare(k.failedAt(b)) })
	return slices.DeleteFunc(list, func(n string) bool { return time.Since(k.failed[n]) < k.o.Timing.Beat })
}

// failedAt is when a node failed, if that matters still.
func (k *Keeper) failedAt(node string) time.Time {
	const forgotten = 20
	if at := k.failed[node]; time.Since(at) < forgotten*k.o.Timing.Silence {
		return at
	}
	return time.Time{}
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// start begins to send to a node; mu is held.
func (k *Keeper) start(ctx context.Context, node string) {
	ctx, cancel := context.WithCancel(ctx)
	t := &target{node: node, cancel: cancel, ended: make(chan struct{}), kept: map[uint64]bool{}}
	k.targets[node] = t
	go func() {
		defer close(t.ended)
		defer cancel()
		err := k.feed(ctx, t)
		k.mu.Lock()
		defer k.mu.Unlock()
		if t.live {
			k.switches++
		}
		t.live, t.err = false, err
		if ctx.Err() == nil {
			k.failed[node] = time.Now()
			k.o.Logger.Warn("a node takes no copy of the journal now", "node", node, "error", err)
		}
		k.noteShort(k.o.Copies())
		select {
		case k.kick <- struct{}{}:
		default:
		}
	}()
}

// liveTargets counts those that what is written now comes to; mu is held.
func (k *Keeper) liveTargets() (n int) {
	for _, t := range k.targets {
		if t.live {
			n++
		}
	}
	return n
}
