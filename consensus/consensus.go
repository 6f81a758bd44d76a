// Package consensus keeps the index the same on every node of a cluster. It
// owns raft: a thin machine that applies the log to the index, membership,
// and the way of a proposal to the leader and of a read past what was
// committed. Bulk bytes never pass through it.
package consensus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/esante-alsace/cigogne/consensus/peer"
	"github.com/esante-alsace/cigogne/storage"
)

const (
	// ioTimeout bounds one message between nodes, of at most entriesAtOnce.
	ioTimeout     = 4 * time.Second
	entriesAtOnce = 16
	// pooledConns is how many connections raft keeps to a node.
	pooledConns = 3
	// handOver bounds how long a node that closes waits for another to lead.
	handOver = 3 * time.Second
	// defaultStaleness is how far behind a read may be that could not ask.
	defaultStaleness = 5 * time.Second
)

// Node is a member of a cluster, or one that asks to be.
type Node struct {
	o         Options
	log       *slog.Logger
	machine   *machine
	snapshots *snapshots
	wal       *raftLogStore
	transport *raft.NetworkTransport
	raft      *raft.Raft
	found     bool // it has a log

	ctx     context.Context // ends when the node closes
	cancel  context.CancelFunc
	closing sync.RWMutex // held to begin work, and to end its beginning
	work    sync.WaitGroup

	identity sync.Mutex // of id
	id       identity

	term     atomic.Uint64 // the term in which this node leads and is ready to, or 0
	seeded   atomic.Bool   // the log cannot be begun with
	draining atomic.Bool
	elected  *signal // fires when the leader changes
	reads    reads
	batch    atomic.Uint64 // an entry of the log that is known to be a batch
	seen     sightings
	slots    chan struct{} // proposals of others that are under way here
	// admitted: the node has a log, or was let in. raft of itself takes whoever
	// answers under a voter's name.
	admitted atomic.Bool
}

// proposalSlots bounds the proposals that a leader takes from others at a time.
const proposalSlots = 64

// Open opens the node's log and takes part in the cluster as soon as the port
// is served. A node that is new and told neither to be the first nor whom to
// ask is storage.ErrInvalid; one whose log is another node's, or whose index
// is of another cluster, is storage.ErrConflict.
func Open(ctx context.Context, o Options) (*Node, error) {
	o.Timing = o.Timing.withDefaults()
	if o.MaxStaleness <= 0 {
		o.MaxStaleness = defaultStaleness
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	n := &Node{o: o, log: o.Logger, elected: newSignal(), slots: make(chan struct{}, proposalSlots)}
	n.ctx, n.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := n.open(ctx); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *Node) open(ctx context.Context) (err error) {
	if err := os.MkdirAll(n.logDir(), 0o700); err != nil {
		return fmt.Errorf("raft: %w", err)
	}
	if n.id, err = readIdentity(n.o.Dir); err != nil {
		return err
	}
	if n.id.Node != "" && n.id.Node != n.o.ID {
		return fmt.Errorf("%w: the data directory is node %s's, not %s's", storage.ErrConflict, n.id.Node, n.o.ID)
	}
	n.id.Node = n.o.ID
	n.machine = newMachine(n.o.Index, n.log)
	n.machine.fetch = n.fetchIndex
	n.machine.applies = n.o.Applied
	if n.snapshots, err = openSnapshots(n.ctx, n.o.Dir, n.machine); err != nil { //nolint:contextcheck // it outlives the opening
		return err
	}
	if n.wal, err = openLog(n.logDir(), n.log, n.spared); err != nil {
		return err
	}
	if n.found, err = raft.HasExistingState(n.wal, n.wal, n.snapshots); err != nil {
		return fmt.Errorf("raft: %w", err)
	}
	n.transport = n.newTransport()
	switch {
	case n.found:
		err = n.reopen(ctx)
	case n.o.Bootstrap:
		err = n.bootstrap(ctx)
	case len(n.o.Join) == 0:
		err = fmt.Errorf("%w: node %s has no log yet: it is the first of a cluster, or joins one", storage.ErrInvalid, n.o.ID)
	}
	if err != nil {
		return err
	}
	n.admitted.Store(n.found)
	if n.raft, err = raft.NewRaft(n.o.config(n.log), fsm{n.machine, n.ctx}, n.wal, n.wal, n.snapshots, n.transport); err != nil {
		return fmt.Errorf("raft: %w", err)
	}
	return nil
}

func (n *Node) logDir() string { return filepath.Join(n.o.Dir, "log") }

// reopen holds the index against the log.
func (n *Node) reopen(ctx context.Context) error {
	if n.id.Cluster == "" {
		return fmt.Errorf("%w: %s is missing beside the log", storage.ErrCorrupt, identityFile)
	}
	cluster, applied := n.o.Index.Log()
	least := n.snapshots.content()
	switch {
	case cluster == n.id.Cluster && applied >= least:
		return nil
	case least > 0: // it was lost or damaged, or is an old copy
		n.log.Warn("the index is not the one of the log: it will be fetched from another node", "applied", applied, "least", least)
		n.machine.require(least)
		return nil
	case cluster == "": // the log is whole, and the index is what was before it
		return n.o.Index.Follow(ctx, n.id.Cluster)
	default:
		return fmt.Errorf("%w: the index is of another cluster", storage.ErrConflict)
	}
}

// bootstrap makes the first log of a cluster; what the index holds is where it
// begins.
func (n *Node) bootstrap(ctx context.Context) error {
	if n.cluster() == "" { // or a crash came between
		if err := n.belong(rand.Text()); err != nil {
			return err
		}
	}
	if err := n.o.Index.Follow(ctx, n.cluster()); err != nil {
		return err
	}
	n.machine.refresh()
	err := raft.BootstrapCluster(n.o.config(n.log), n.wal, n.wal, n.snapshots, n.transport, raft.Configuration{
		Servers: []raft.Server{{ID: raft.ServerID(n.o.ID), Address: raft.ServerAddress(n.o.Advertise)}},
	})
	if err != nil {
		return fmt.Errorf("raft: bootstrap: %w", err)
	}
	n.found = true
	return nil
}

func (n *Node) newTransport() *raft.NetworkTransport {
	l, h := n.o.Port.StreamListener()
	n.o.Port.Handle(peer.ProtoRaft, func(ctx context.Context, c *peer.Conn) {
		if n.admitted.Load() {
			h(ctx, c)
		}
	})
	s := &stream{Listener: listenAddr{l, advertised(n.o.Advertise)}, ctx: n.ctx, dialer: n.o.Dialer, id: n.idOf}
	return raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: s, MaxPool: pooledConns, Timeout: ioTimeout, Logger: newRaftLogger(n.log),
		// Pipelines gain nothing where entries are batches, and one that is full
		// when a leader steps down is never given up: closing would hang.
		MaxRPCsInFlight:         1,
		MsgpackUseNewTimeFormat: true,
	})
}

// Run does what a node has to do beside its log, until ctx ends: it asks to be
// let in, heals its index, and looks after the others while it leads. When it
// has ended nothing is applied any more, and the node is to be closed.
func (n *Node) Run(ctx context.Context) error {
	var jobs sync.WaitGroup
	defer jobs.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	jobs.Go(func() { n.watchLeader(ctx) })
	jobs.Go(func() { n.lead(ctx) })
	jobs.Go(func() { _ = n.machine.healthy(ctx) }) // it ends with ctx
	jobs.Go(func() { n.introduce(ctx) })
	<-ctx.Done()
	n.cancel() // an entry that cannot be applied would hold up the end
	return ctx.Err()
}

// Resign hands the lead over if this node has it and there is another that
// could: before it closes, so that the others need not find out.
func (n *Node) Resign() error {
	voters := 0
	for _, m := range n.Members() {
		if m.Voter {
			voters++
		}
	}
	if n.raft.State() != raft.Leader || voters < 2 {
		return nil
	}
	return n.handOver("")
}

// cluster is the one that the node belongs to, or "".
func (n *Node) cluster() string {
	n.identity.Lock()
	defer n.identity.Unlock()
	return n.id.Cluster
}

// belong notes the cluster that the node belongs to, for ever.
func (n *Node) belong(cluster string) error {
	n.identity.Lock()
	defer n.identity.Unlock()
	id := n.id
	id.Cluster = cluster
	if err := id.write(n.o.Dir); err != nil {
		return err
	}
	n.id = id
	return nil
}

// begin sets a function to work, for which Close waits. It tells whether the
// node was open.
func (n *Node) begin(f func()) bool {
	n.closing.RLock()
	defer n.closing.RUnlock()
	if n.ctx.Err() != nil {
		return false
	}
	n.work.Go(f)
	return true
}

// ask waits for what is asked of raft, until ctx ends: raft may answer later,
// and a closed node has no raft to answer. Futures of raft are neither cut
// short nor answered once it is shut down, so Close waits for them before.
func (n *Node) ask(ctx context.Context, question func() error) error {
	done := make(chan error, 1)
	if !n.begin(func() { done <- question() }) {
		return raft.ErrRaftShutdown
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close closes the log. The index and the port are their owners' to close, the
// port before and the index afterwards.
func (n *Node) Close() error {
	n.closing.Lock()
	n.cancel()
	n.closing.Unlock()
	n.work.Wait()
	var errs []error
	if n.raft != nil {
		errs = append(errs, n.raft.Shutdown().Error())
	}
	if n.transport != nil {
		errs = append(errs, n.transport.Close())
	}
	if n.wal != nil {
		errs = append(errs, n.wal.Close())
	}
	return errors.Join(errs...)
}

// handOver makes another node lead, the one named or the one that is furthest.
func (n *Node) handOver(to string) error {
	question := func() error { return n.raft.LeadershipTransfer().Error() }
	if to != "" {
		m, ok := n.member(to)
		if !ok {
			return fmt.Errorf("%w: no node %s", storage.ErrNotFound, to)
		}
		if to == n.o.ID {
			return nil // it leads already
		}
		question = func() error {
			return n.raft.LeadershipTransferToServer(raft.ServerID(to), raft.ServerAddress(m.Addr)).Error()
		}
	}
	ctx, cancel := context.WithTimeout(n.ctx, handOver)
	defer cancel()
	if err := n.ask(ctx, question); err != nil {
		return fmt.Errorf("%w: hand over: %w", storage.ErrUnavailable, err)
	}
	return nil
}
