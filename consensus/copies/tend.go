package copies

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/journal"
)

const (
	// tendEvery is how often segments are looked at that may be removed.
	tendEvery = 5 * time.Second
	// watchMost bounds what a removed node's journal waits for, ten times over:
	// its copies are the only ones until they are taken over.
	watchMost = 5 * time.Second
	// strayAfter is how long a large file waits for its record.
	strayAfter = time.Hour
)

// Tend removes from the copies what nobody needs any more by the index, until
// ctx ends.
func (h *Holder) Tend(ctx context.Context, x *index.Index) error {
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	for {
		for _, id := range h.Journals() {
			if err := h.Release(ctx, x, id); err != nil && ctx.Err() == nil {
				h.o.Logger.Warn("the copy of a journal is not tidied", "journal", id, "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// Release removes the segments of one copy that nothing refers to. What the
// index says is made durable first: it is what allows the removal. One that did
// not come whole goes when the index is past it: who sent it may have removed
// it since, and begins at its beginning if not. Large files go whose records did
// not come for an hour.
func (h *Holder) Release(ctx context.Context, x *index.Index, id string) error {
	c := h.Copy(id)
	if c == nil {
		return nil
	}
	c.RemoveStrays(time.Now().Add(-strayAfter))
	name := index.JournalID(id)
	applied, err := x.Applied(ctx, name) // read before the segments in use: later rows are past it
	if err != nil {
		return err
	}
	used, err := x.SegmentsInUse(ctx, name)
	if err != nil {
		return err
	}
	synced := false
	for _, s := range c.Segments() {
		passed := s.Sealed && !s.Damaged && s.Last.Compare(position(applied)) <= 0 || !s.Sealed && s.Number < applied.Segment
		if used[s.Number] || !passed {
			continue
		}
		if !synced {
			if err := x.Sync(ctx); err != nil {
				return err
			}
			synced = true
		}
		if err := c.Remove(ctx, s.Number); err != nil && !errors.Is(err, storage.ErrInvalid) {
			return err
		}
	}
	return nil
}

// WatchOptions say when a node's journal is retired.
type WatchOptions struct {
	Index *index.Index
	// Members names all nodes, and Unseen tells for how long the leader has
	// heard nothing of each other one.
	Members func() []string
	Unseen  func() (map[string]time.Duration, error)
	Propose func(ctx context.Context, b index.Batch) error
	// After is how long a node may not be heard of.
	After time.Duration
}

// Watch retires the journals of nodes that are gone or not heard of, until ctx
// ends; it is the leader's to run.
func Watch(ctx context.Context, o WatchOptions) error {
	const looks = 10
	tick := time.NewTicker(max(min(o.After, watchMost)/looks, time.Millisecond))
	defer tick.Stop()
	for {
		if err := o.Look(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, storage.ErrUnavailable) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// Look looks once, and proposes to retire the journals of nodes that are gone.
// It is storage.ErrUnavailable where Unseen is, as on a node that does not lead.
func (o *WatchOptions) Look(ctx context.Context) error {
	unseen, err := o.Unseen()
	if err != nil {
		return err
	}
	states, err := o.Index.Journals(ctx)
	if err != nil {
		return err
	}
	member := map[string]bool{}
	for _, m := range o.Members() {
		member[m] = true
	}
	var gone []index.JournalChange
	for _, s := range states {
		if !s.Retired && (unseen[s.Node] > o.After || !member[s.Node]) {
			gone = append(gone, index.JournalChange{Journal: s.Journal, Retired: true})
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return o.Propose(ctx, index.Batch{Journals: gone})
}

// Claim makes a journal the node's in the index, and tells whether it may be
// used: not when it was retired.
func Claim(ctx context.Context, x *index.Index, propose func(context.Context, index.Batch) error, node, id string) (retired bool, err error) {
	change := index.JournalChange{Journal: index.JournalID(id), Node: node}
	if err := propose(ctx, index.Batch{Journals: []index.JournalChange{change}}); err != nil {
		return false, fmt.Errorf("claim the journal: %w", err)
	}
	return Retired(ctx, x, id)
}

// Retired tells whether a journal is retired by what the index here knows.
func Retired(ctx context.Context, x *index.Index, id string) (bool, error) {
	states, err := x.Journals(ctx)
	if err != nil {
		return false, err
	}
	for _, s := range states {
		if string(s.Journal) == id {
			return s.Retired, nil
		}
	}
	return false, nil
}

// KeeperStatus is how the copies of this node's journal are.
type KeeperStatus struct {
	// Wanted is how many other nodes must have an instance.
	Wanted  int            `json:"wanted"`
	Targets []TargetStatus `json:"targets"`
	// Waiting counts the entries that are durable here and not held yet.
	Waiting int `json:"waiting"`
	// Oldest is since when the first of them is; zero for none.
	Oldest time.Time `json:"oldest,omitzero"`
	// LackingBytes is what has yet to come to other nodes until as many of them
	// as must have all of the journal: 0 says that this node may be lost. What
	// is written now counts until it is acknowledged.
	LackingBytes int64 `json:"lackingBytes"`
	// Filled counts the bytes that were sent to fill in, Switches how often a
	// node that took copies did so no more.
	Filled   uint64 `json:"filledBytes"`
	Switches uint64 `json:"switches"`
}

// TargetStatus is how one node is that is sent the journal.
type TargetStatus struct {
	Node string `json:"node"`
	Live bool   `json:"live"`
	// LackingSegments and LackingBytes are what it does not have yet.
	LackingSegments int    `json:"lackingSegments"`
	LackingBytes    int64  `json:"lackingBytes"`
	Error           string `json:"error,omitempty"`
}

// Status tells how the copies are.
func (k *Keeper) Status() KeeperStatus {
	members := k.o.Others()
	k.mu.Lock()
	defer k.mu.Unlock()
	var segments []journal.Segment
	if k.journal != nil { // Attach comes after others may ask
		segments = k.journal.Segments()
	}
	s := KeeperStatus{Wanted: k.o.Copies(), Waiting: len(k.queue), Filled: k.filled, Switches: k.switches}
	if len(k.since) > 0 {
		s.Oldest = k.since[0]
	}
	missing := s.Wanted
	for node, t := range k.targets {
		one := TargetStatus{Node: node, Live: t.live}
		one.LackingSegments, one.LackingBytes = k.lacks(node, segments)
		if t.err != nil {
			one.Error = t.err.Error()
		}
		s.Targets = append(s.Targets, one)
		if t.live && missing > 0 && slices.Contains(members, node) {
			missing--
			s.LackingBytes += one.LackingBytes
		}
	}
	_, all := k.lacks("", segments)
	s.LackingBytes += int64(missing) * all
	return s
}

// lacks counts the segments of which a node has not every entry, and their
// bytes; mu is held.
func (k *Keeper) lacks(node string, segments []journal.Segment) (n int, bytes int64) {
	for _, s := range segments {
		has := k.has[node][s.Number]
		if s.Entries > 0 && !s.Damaged && !has.Whole && has.End <= s.Last.Offset {
			n++
			bytes += max(s.Bytes-has.End, 1) // what a large file has of it is not told
		}
	}
	return n, bytes
}
