package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/esante-alsace/cigogne/consensus"
	"github.com/esante-alsace/cigogne/consensus/copies"
	"github.com/esante-alsace/cigogne/consensus/peer"
	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// errRetired ends a node whose journal takes nothing any more: it was not
// heard of, and others took over what lay there. It begins anew with another.
var errRetired = fmt.Errorf("%w: the node's journal was retired while nothing was heard of the node", storage.ErrUnavailable)

const (
	// manyNodes is from how many on an instance must lie on two by default.
	manyNodes = 3
	// retiredLook is how often the node looks whether its journal is retired.
	retiredLook = 500 * time.Millisecond
	// claimAgain is the pause before a journal is claimed again.
	claimAgain = 500 * time.Millisecond
	// askPatience is how long a node that starts waits to hear up to where the
	// cluster knows its journal. After that it begins, and takes nothing before.
	askPatience = 3 * time.Second
)

func (s *stores) copiesDir() string { return filepath.Join(s.DataDir, "copies") }

// copying is a node's part in keeping journals on several nodes.
type copying struct {
	keeper    *copies.Keeper
	holder    *copies.Holder
	reader    *copies.Reader
	evacuator *gateway.Evacuator
	retired   chan struct{} // capacity 1: another node says that the journal is retired
	older     chan struct{} // capacity 1: others know more of the journal than is in it
	asked     bool          // at start the cluster said up to where it knows the journal
}

// newCopying is what the journal's Durable needs; openCopies does the rest.
func (n *node) newCopying() *copying {
	c := &copying{retired: make(chan struct{}, 1), older: make(chan struct{}, 1)}
	c.keeper = copies.NewKeeper(copies.KeeperOptions{
		Node: n.config.NodeID, Others: n.otherNodes, Copies: func() int { return n.writeCopies() - 1 },
		Dial: func(ctx context.Context, node string) (net.Conn, error) {
			to, err := n.cluster.peer(node)
			if err != nil {
				return nil, err
			}
			return n.cluster.dialer.Dial(ctx, to, peer.ProtoCopy)
		},
		Held:    func(e []journal.Entry) { n.indexer.Durable(e) },
		Retired: func() { tell(c.retired) },
		Known:   n.awaitKnown,
		Older:   func() { tell(c.older) },
		Logger:  n.log,
	})
	return c
}

// tell puts a token into a channel of capacity 1.
func tell(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is told already
	}
}

// writeCopies is on how many nodes an instance must lie before its sender is
// told.
func (n *node) writeCopies() int {
	if n.config.WriteCopies > 0 {
		return n.config.WriteCopies
	}
	if len(n.cluster.Members()) >= manyNodes {
		return 2
	}
	return 1
}

// otherNodes are the members of the cluster but this one.
func (n *node) otherNodes() []string {
	var ids []string
	for _, m := range n.cluster.Members() {
		if m.ID != n.config.NodeID {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

// isGone tells of a node that it belongs to the cluster no more.
func (n *node) isGone(id string) bool {
	return !slices.ContainsFunc(n.cluster.Members(), func(m consensus.Member) bool { return m.ID == id })
}

// peer is where a member is.
func (c *cluster) peer(id string) (peer.Node, error) {
	for _, m := range c.Members() {
		if m.ID == id {
			return m.Node(), nil
		}
	}
	return peer.Node{}, fmt.Errorf("%w: node %s is no member", storage.ErrUnavailable, id)
}

// clientOf calls a member of the cluster.
func (n *node) clientOf(id string) (*http.Client, error) {
	to, err := n.cluster.peer(id)
	if err != nil {
		return nil, err
	}
	return n.cluster.dialer.Client(to), nil
}

// openCopies opens the copies that lie here. A journal that is retired by what
// the index knows is one of them from now on, and the node has a new one.
func (n *node) openCopies(ctx context.Context) error {
	retired, err := copies.Retired(ctx, n.index, n.journal.ID())
	if err != nil {
		return err
	}
	if retired {
		if err := n.replaceJournal(ctx); err != nil {
			return fmt.Errorf("a retired journal: %w", err)
		}
	}
	c := n.copying
	c.holder, err = copies.OpenHolder(ctx, copies.HolderOptions{
		Dir: n.config.copiesDir(), Journal: journal.Options{NoSync: n.config.UnsafeNoFsync},
		Retired: func(ctx context.Context, id string) (bool, error) { return copies.Retired(ctx, n.index, id) },
		Logger:  n.log,
	})
	if err != nil {
		return err
	}
	c.reader = copies.NewReader(copies.ReaderOptions{
		Own: n.journal, Holder: c.holder, Nodes: n.likelyNodes,
		Client: n.clientOf,
	})
	return nil
}

// replaceJournal puts the node's journal among the copies, and begins another.
func (n *node) replaceJournal(ctx context.Context) error {
	id := n.journal.ID()
	if err := n.journal.Close(); err != nil {
		return err
	}
	if err := os.MkdirAll(n.config.copiesDir(), 0o700); err != nil {
		return err
	}
	if err := os.Rename(n.config.journalDir(), filepath.Join(n.config.copiesDir(), id)); err != nil {
		return err
	}
	n.log.Warn("the node's journal was retired: it is emptied, and the node goes on with a new one", "journal", id)
	return n.openJournal(ctx)
}

// likelyNodes are the nodes that may have a journal, its own node first.
func (n *node) likelyNodes(ctx context.Context, id string) []string {
	list := n.otherNodes()
	states, err := n.index.Journals(ctx)
	if err != nil {
		return list
	}
	for _, s := range states {
		if i := slices.Index(list, s.Node); string(s.Journal) == id && i > 0 {
			list[0], list[i] = list[i], list[0]
		}
	}
	return list
}

// serveCopies answers other nodes; it comes before the port is served.
func (n *node) serveCopies() {
	n.cluster.port.Handle(peer.ProtoCopy, func(ctx context.Context, c *peer.Conn) {
		if err := n.copying.holder.Serve(ctx, c, c.Peer.Name); err != nil && ctx.Err() == nil {
			n.log.Info("a journal is copied here no more", "from", c.Peer.Name, "error", err)
		}
	})
	n.cluster.calls.Handle(copies.Path, n.copying.reader.Handler())
}

// claim makes the journal this node's in the index of the cluster, however long
// that takes; a journal that it knows as the node's already needs no word.
func (n *node) claim(ctx context.Context) error {
	states, err := n.index.Journals(ctx)
	if err != nil {
		return err
	}
	for _, s := range states {
		if string(s.Journal) == n.journal.ID() && s.Node == n.config.NodeID && !s.Retired {
			return nil
		}
	}
	for {
		retired, err := copies.Claim(ctx, n.index, n.cluster.Propose, n.config.NodeID, n.journal.ID())
		switch {
		case err == nil && retired:
			return errRetired
		case err == nil, ctx.Err() != nil:
			return err
		}
		n.log.Warn("the cluster does not know this node's journal yet, will try again", "error", err)
		if err := again(ctx, claimAgain); err != nil {
			return err
		}
	}
}

// ask asks the cluster up to where it knows this node's journal. It is errRetired
// for one that was retired while the node was away, and gives up one that does
// not reach so far with errRetired, too: its disk was put back to what it was
// before, and what it took next would lie where others' instances do.
func (n *node) ask(ctx context.Context) error {
	if _, err := n.cluster.Read(ctx, consensus.Strong, 0); err != nil {
		return err
	}
	retired, err := copies.Retired(ctx, n.index, n.journal.ID())
	if err != nil {
		return err
	}
	if retired {
		return errRetired
	}
	older, err := n.journalOlder(ctx)
	if err != nil || !older {
		return err
	}
	return n.giveUpJournal(ctx)
}

// journalOlder tells whether the index knows more of the journal than is in it.
func (n *node) journalOlder(ctx context.Context) (bool, error) {
	applied, err := n.index.Applied(ctx, index.JournalID(n.journal.ID()))
	return err == nil && !n.journal.Reaches(journal.Position{Segment: applied.Segment, Offset: applied.Offset}), err
}

// giveUpJournal retires the node's journal, however long that takes, and
// returns errRetired: what others hold of it they take over.
func (n *node) giveUpJournal(ctx context.Context) error {
	n.log.Error("the cluster knows more of this node's journal than is in it, as when a disk is put back to what it was before: the journal is given up, and taken over from where it lies", "journal", n.journal.ID())
	gone := index.Batch{Journals: []index.JournalChange{{Journal: index.JournalID(n.journal.ID()), Retired: true}}}
	for {
		err := n.cluster.Propose(ctx, gone)
		if err == nil {
			return errRetired
		}
		n.log.Warn("the journal is not given up yet, will try again", "error", err)
		if err := again(ctx, claimAgain); err != nil {
			return err
		}
	}
}

// askAtStart asks, and gives the cluster a moment to have a leader.
func (n *node) askAtStart(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	err := n.ask(bounded)
	if n.copying.asked = err == nil; err == nil || errors.Is(err, errRetired) || ctx.Err() != nil {
		return err
	}
	n.log.Warn("the cluster does not say yet up to where it knows this node's journal: nothing is taken before", "error", err)
	return nil
}

// awaitKnown returns when the cluster has said that it knows nothing of the
// journal that is not in it; it is the Keeper's hook.
func (n *node) awaitKnown(ctx context.Context) error {
	for !n.copying.asked {
		err := n.ask(ctx)
		if err == nil {
			return nil
		}
		if errors.Is(err, errRetired) {
			tell(n.copying.retired)
			return err
		}
		if err := again(ctx, claimAgain); err != nil {
			return err
		}
	}
	return nil
}

// again is the pause before something is tried again.
func again(ctx context.Context, after time.Duration) error {
	t := time.NewTimer(after)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// runCopies keeps copies until ctx ends.
func (n *node) runCopies(ctx context.Context, g *errgroup.Group) {
	c := n.copying
	g.Go(func() error { return c.keeper.Run(ctx) })
	g.Go(func() error { return c.holder.Tend(ctx, n.index) })
	g.Go(func() error { return c.evacuator.Run(ctx) })
	g.Go(func() error {
		return n.onDuty(ctx, func(ctx context.Context) error {
			return copies.Watch(ctx, copies.WatchOptions{
				Index: n.index, Unseen: n.cluster.Unseen, Propose: n.cluster.Propose, After: n.config.TakeoverAfter,
				Members: func() []string { return append(n.otherNodes(), n.config.NodeID) },
			})
		})
	})
}

// watchJournal returns errRetired as soon as the node's journal is retired, or
// is found to be older than what others know of it.
func (n *node) watchJournal(ctx context.Context) error {
	tick := time.NewTicker(retiredLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-n.copying.retired:
			// The index here may not know yet: the next start would take the
			// journal for good.
			if err := n.awaitRetired(ctx); err != nil {
				return err
			}
			return errRetired
		case <-n.copying.older:
			return n.giveUpJournal(ctx)
		case <-tick.C:
		}
		retired, err := copies.Retired(ctx, n.index, n.journal.ID())
		if err == nil && retired {
			return errRetired
		}
		// A machine can be put back to what it was before while it runs.
		if older, err := n.journalOlder(ctx); err == nil && older {
			return n.giveUpJournal(ctx)
		}
	}
}

// awaitRetired waits until the index here knows that the journal is retired.
func (n *node) awaitRetired(ctx context.Context) error {
	tick := time.NewTicker(retiredLook / 10)
	defer tick.Stop()
	for {
		retired, err := copies.Retired(ctx, n.index, n.journal.ID())
		if err == nil && retired {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// close gives the copies back; what was not opened is skipped.
func (c *copying) close() error {
	if c.holder == nil {
		return nil
	}
	return c.holder.Close()
}
