package clustertest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/consensus"
	"github.com/esante-alsace/cigogne/consensus/peer"
	"github.com/esante-alsace/cigogne/storage/index"
)

// Cluster is a few nodes and the network between them.
type Cluster struct {
	t   testing.TB
	dir string
	Net *Network
	// Timing is that of nodes started afterwards.
	Timing consensus.Timing
	// Staleness is the MaxStaleness of nodes started afterwards.
	Staleness time.Duration

	skews map[string]*atomic.Int64 // how far each node's clock has jumped
	disks map[string]*atomic.Int64 // how much longer each node's disk takes
	ca    *peer.Authority
	addrs map[string]string

	mu    sync.Mutex
	nodes map[string]*Node
}

// Node is one node that runs.
type Node struct {
	*consensus.Node
	ID     string
	Index  *index.Index
	port   *peer.Port
	dialer *peer.Dialer
	stop   context.CancelFunc
	done   chan struct{}
}

// New returns a cluster without nodes.
func New(t testing.TB) *Cluster {
	t.Helper()
	c := &Cluster{
		t: t, dir: t.TempDir(), Net: NewNetwork(), addrs: map[string]string{}, skews: map[string]*atomic.Int64{}, disks: map[string]*atomic.Int64{}, nodes: map[string]*Node{},
		Timing: consensus.Timing{Look: 50 * time.Millisecond},
	}
	var err error
	if c.ca, err = peer.OpenAuthority(filepath.Join(c.dir, "ca")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Net.Heal()
		for _, id := range c.Running() {
			c.Kill(id)
		}
	})
	return c
}

// Of returns a cluster of n nodes, n1 and so on, who all vote.
func Of(t testing.TB, n int) *Cluster {
	t.Helper()
	c := New(t)
	c.Start("n1")
	for i := 2; i <= n; i++ {
		c.Start(fmt.Sprintf("n%d", i))
	}
	c.Settled(n)
	return c
}

// Dir is where a node keeps what it has; IndexPath its index.
func (c *Cluster) Dir(id string) string { return filepath.Join(c.dir, id) }

// IndexPath is the file of a node's index.
func (c *Cluster) IndexPath(id string) string { return filepath.Join(c.Dir(id), "index.db") }

// Start starts a node: the first of all begins the cluster, others join it.
func (c *Cluster) Start(id string) *Node {
	c.t.Helper()
	n, err := c.TryStart(id)
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

// Jump sets how far the clock of a node that was started is ahead.
func (c *Cluster) Jump(id string, by time.Duration) { c.skews[id].Store(int64(by)) }

// Slow lets all that a node's index writes take longer, until it is 0 again.
// What raft itself writes takes as long as ever.
func (c *Cluster) Slow(id string, by time.Duration) { c.disks[id].Store(int64(by)) }

// slowIndex is an index on a disk that may be slow.
type slowIndex struct {
	*index.Index
	by *atomic.Int64
}

// ApplyAt implements consensus.Index.
func (s slowIndex) ApplyAt(ctx context.Context, at uint64, b index.Batch) (index.Applied, error) {
	if err := wait(ctx, time.Duration(s.by.Load())); err != nil {
		return index.Applied{}, err
	}
	return s.Index.ApplyAt(ctx, at, b)
}

// Sync implements consensus.Index.
func (s slowIndex) Sync(ctx context.Context) error {
	if err := wait(ctx, time.Duration(s.by.Load())); err != nil {
		return err
	}
	return s.Index.Sync(ctx)
}

// TryStart starts a node, or says why it does not.
func (c *Cluster) TryStart(id string) (*Node, error) {
	credentials, err := c.credentials(id)
	if err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	addr := c.addrs[id]
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	l, err := lc.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, err
	}
	addr = l.Addr().String()
	first := len(c.addrs) == 0 || c.addrs["n1"] == addr
	c.addrs[id] = addr
	c.Net.At(addr, id)
	if c.skews[id] == nil {
		c.skews[id], c.disks[id] = new(atomic.Int64), new(atomic.Int64)
	}
	skew := c.skews[id]
	n := &Node{ID: id, done: make(chan struct{})}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level()})).With("node", id)
	if n.Index, err = c.openIndex(id); err != nil {
		l.Close()
		return nil, err
	}
	n.port, err = peer.Listen(context.Background(), peer.PortOptions{
		Listener: l, Credentials: credentials, Refuses: consensus.NewRefusals(n.Index).Check, Logger: log,
	})
	if err != nil {
		return nil, errors.Join(err, n.Index.Close(), l.Close())
	}
	n.dialer = peer.NewDialer(credentials, c.Net.Dial(id))
	n.Node, err = consensus.Open(context.Background(), consensus.Options{
		ID: id, Advertise: addr, Dir: filepath.Join(c.Dir(id), "raft"), Index: slowIndex{n.Index, c.disks[id]}, Port: n.port, Dialer: n.dialer,
		Bootstrap: first, Join: c.othersThan(id), Timing: c.Timing, MaxStaleness: c.Staleness, Logger: log,
		Now: func() time.Time { return time.Now().Add(time.Duration(skew.Load())) },
	})
	if err != nil {
		return nil, errors.Join(err, n.Index.Close(), n.port.Close())
	}
	c.run(n)
	return n, nil
}

// othersThan are the addresses of all nodes that ever ran but one.
func (c *Cluster) othersThan(id string) (addrs []string) {
	for other, a := range c.addrs {
		if other != id {
			addrs = append(addrs, a)
		}
	}
	return addrs
}

// level is that of the nodes' logs: they are part of a failed test's output.
func level() slog.Level {
	if os.Getenv("CIGOGNE_TEST_LOG") != "" {
		return slog.LevelDebug
	}
	return slog.LevelError + 1
}

func (c *Cluster) credentials(id string) (*peer.Credentials, error) {
	dir := filepath.Join(c.dir, "ca", id)
	if _, err := os.Stat(dir); err != nil {
		if err := c.ca.Issue(dir, peer.Identity{Role: peer.RoleNode, Name: id}, time.Hour); err != nil {
			return nil, err
		}
	}
	return peer.Load(dir)
}

// openIndex opens a node's index, and removes a damaged one that the node will
// fetch.
func (c *Cluster) openIndex(id string) (*index.Index, error) {
	if err := os.MkdirAll(c.Dir(id), 0o700); err != nil {
		return nil, err
	}
	x, err := index.Open(context.Background(), index.Options{Path: c.IndexPath(id)})
	if err == nil {
		return x, nil
	}
	if heals, herr := consensus.Heals(filepath.Join(c.Dir(id), "raft")); !heals || herr != nil {
		return nil, errors.Join(err, herr)
	}
	if err := index.Discard(c.IndexPath(id)); err != nil {
		return nil, err
	}
	return index.Open(context.Background(), index.Options{Path: c.IndexPath(id)})
}

func (c *Cluster) run(n *Node) {
	ctx, cancel := context.WithCancel(context.Background())
	n.stop = cancel
	mux := http.NewServeMux()
	mux.Handle(consensus.Path, n.Handler())
	n.port.HandleHTTP(mux)
	var jobs sync.WaitGroup
	jobs.Go(func() { _ = n.port.Serve(ctx) })
	jobs.Go(func() { _ = n.Run(ctx) })
	go func() {
		jobs.Wait()
		close(n.done)
	}()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[n.ID] = n
}

// Kill ends a node without a word to the others.
func (c *Cluster) Kill(id string) {
	c.t.Helper()
	c.mu.Lock()
	n := c.nodes[id]
	delete(c.nodes, id)
	c.mu.Unlock()
	if n == nil {
		return
	}
	c.Net.Down(id)
	n.stop()
	<-n.done
	n.dialer.Close()
	if err := errors.Join(n.Close(), n.Index.Close()); err != nil {
		c.t.Errorf("node %s does not close: %v", id, err)
	}
}

// Wipe removes what a node keeps.
func (c *Cluster) Wipe(id string) {
	c.t.Helper()
	if err := os.RemoveAll(c.Dir(id)); err != nil {
		c.t.Fatal(err)
	}
}

// Node is a node that runs.
func (c *Cluster) Node(id string) *Node {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodes[id]
	if n == nil {
		c.t.Fatalf("node %s does not run", id)
	}
	return n
}

// Running lists the nodes that run.
func (c *Cluster) Running() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ids []string
	for id := range c.nodes {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Leader waits for one of the nodes that run, but none of those left out, to
// lead.
func (c *Cluster) Leader(but ...string) *Node {
	c.t.Helper()
	var leader *Node
	c.Eventually("there is a leader", func() bool {
		for _, id := range c.Running() {
			if n := c.Node(id); !slices.Contains(but, id) && n.Leads() {
				leader = n
				return true
			}
		}
		return false
	})
	return leader
}

// Others are the nodes that run but one.
func (c *Cluster) Others(id string) []*Node {
	c.t.Helper()
	var out []*Node
	for _, other := range c.Running() {
		if other != id {
			out = append(out, c.Node(other))
		}
	}
	return out
}

// Settled waits until n nodes vote.
func (c *Cluster) Settled(n int) {
	c.t.Helper()
	c.Eventually(fmt.Sprintf("%d nodes vote", n), func() bool {
		for _, id := range c.Running() {
			voters := 0
			for _, m := range c.Node(id).Members() {
				if m.Voter {
					voters++
				}
			}
			if voters != n {
				return false
			}
		}
		return true
	})
}

// Patience is how long a test waits for what must come. A machine that does
// much else may need a minute for an election.
const Patience = 4 * time.Minute

// Eventually asks until the answer is yes, at most for Patience.
func (c *Cluster) Eventually(what string, ask func() bool) {
	c.t.Helper()
	deadline := time.After(Patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ask() {
		select {
		case <-tick.C:
		case <-deadline:
			for _, id := range c.Running() {
				c.t.Logf("%+v", c.Node(id).Status())
			}
			c.t.Fatalf("not in time: %s", what)
		}
	}
}

// Addr is where a node listens.
func (c *Cluster) Addr(id string) string { return c.addrs[id] }

// Client calls a node as the node itself would.
func (c *Cluster) Client(id string) consensus.Client {
	n := c.Node(id)
	return consensus.Client{Dialer: n.dialer, Node: peer.Node{ID: id, Addr: c.addrs[id]}}
}

// Some is any node that runs, or nil.
func (c *Cluster) Some(rng *rand.Rand) *Node {
	ids := c.Running()
	if len(ids) == 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[ids[rng.IntN(len(ids))]]
}
