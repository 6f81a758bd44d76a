package copies_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/consensus/copies"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// nodes are journals that copy each other over loopback connections that can
// be cut.
type nodes struct {
	t      *testing.T
	timing copies.Timing

	mu  sync.Mutex
	all map[string]*node
	cut map[string]bool // nodes nobody reaches
	// frozen nodes stand still; deaf ones show that they are there, and take
	// nothing in.
	frozen, deaf map[string]chan struct{}
	// rate, when set, is how many bytes a second a connection takes in.
	rate atomic.Int64
	// inLine lets no large file go ahead of its record.
	inLine atomic.Bool
}

type node struct {
	id, dir string
	cluster *nodes
	journal *journal.Journal
	keeper  *copies.Keeper
	holder  *copies.Holder
	conns   map[*gated]bool // that were taken
	serving sync.WaitGroup  // one for each; none is added when the node is none of all
	retired map[string]bool
	older   atomic.Bool // another has of the journal what is not in it

	mu   sync.Mutex
	held []journal.Entry
	stop func()
}

func timing() copies.Timing {
	return copies.Timing{Beat: 50 * time.Millisecond, Silence: time.Second, Stall: 2 * time.Second, Grace: 2 * time.Second}
}

// never is a time after which a node that is merely slow would have come: for
// what does not show how one is given up. Within 40 beats, ten seconds, what is
// sent at once comes over any line.
func never() copies.Timing {
	return copies.Timing{Beat: 250 * time.Millisecond, Silence: time.Minute, Stall: time.Minute, Grace: time.Minute}
}

func newNodes(t *testing.T, count int) *nodes { return newNodesWith(t, count, timing()) }

func newNodesWith(t *testing.T, count int, timing copies.Timing) *nodes {
	c := &nodes{t: t, timing: timing, all: map[string]*node{}, cut: map[string]bool{}, frozen: map[string]chan struct{}{}, deaf: map[string]chan struct{}{}}
	for i := range count {
		c.start(fmt.Sprintf("n%d", i+1), t.TempDir())
	}
	for _, n := range c.all {
		eventually(t, "the journal is copied", func() bool {
			s := n.keeper.Status()
			return len(s.Targets) == 1 && s.Targets[0].Live
		})
	}
	return c
}

// start starts a node in a folder.
func (c *nodes) start(id, dir string) *node {
	c.t.Helper()
	log := slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.t.Context()))
	n := &node{id: id, dir: dir, cluster: c, conns: map[*gated]bool{}, retired: map[string]bool{}}
	n.keeper = copies.NewKeeper(copies.KeeperOptions{
		Node: id, Others: func() []string { return c.others(id) }, Copies: func() int { return 1 },
		Dial:       func(ctx context.Context, to string) (net.Conn, error) { return c.dial(ctx, id, to) },
		Held:       n.take,
		Older:      func() { n.older.Store(true) },
		AheadBytes: 20 << 10,
		Timing:     c.timing, Logger: log,
	})
	var err error
	o := journal.Options{Logger: log, SegmentBytes: 256 << 10, InlineBytes: 16 << 10}
	n.holder, err = copies.OpenHolder(ctx, copies.HolderOptions{
		Dir: filepath.Join(dir, "copies"), Journal: o, Timing: c.timing, Logger: log,
		Retired: n.isRetired,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	o.Dir, o.Durable = filepath.Join(dir, "journal"), n.keeper.Durable
	o.Ahead = func(ctx context.Context, f journal.LargeFile) {
		if !c.inLine.Load() {
			n.keeper.Ahead(ctx, f)
		}
	}
	if n.journal, err = journal.Open(ctx, o); err != nil {
		c.t.Fatal(err)
	}
	if err := n.keeper.Attach(n.journal, journal.Position{}); err != nil {
		c.t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() { _ = n.keeper.Run(ctx) })
	n.stop = sync.OnceFunc(func() {
		cancel()
		work.Wait()
		c.mu.Lock()
		delete(c.all, id)
		for conn := range n.conns {
			conn.Close()
		}
		c.mu.Unlock()
		n.serving.Wait()
		if err := errors.Join(n.journal.Close(), n.holder.Close()); err != nil {
			c.t.Error(err)
		}
	})
	c.mu.Lock()
	c.all[id] = n
	c.mu.Unlock()
	c.t.Cleanup(n.stop)
	return n
}

func (n *node) isRetired(_ context.Context, id string) (bool, error) {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	return n.retired[id], nil
}

func (n *node) take(list []journal.Entry) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.held = append(n.held, list...)
}

func (c *nodes) others(id string) []string {
	return slices.DeleteFunc([]string{"n1", "n2", "n3"}, func(n string) bool { return n == id })
}

// dial connects two nodes through a relay that stops when either is cut.
func (c *nodes) dial(ctx context.Context, from, to string) (net.Conn, error) {
	if c.reached(from, to) == nil {
		return nil, fmt.Errorf("%w: %s", storage.ErrUnavailable, to)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	var d net.Dialer
	a, err := d.DialContext(ctx, "tcp", l.Addr().String())
	if err != nil {
		return nil, err
	}
	taken, err := l.Accept()
	if err != nil {
		return nil, err
	}
	b := &gated{Conn: taken, cluster: c, nodes: [2]string{from, to}}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.reachedNow(from, to)
	if n == nil { // it was stopped meanwhile
		return nil, errors.Join(fmt.Errorf("%w: %s", storage.ErrUnavailable, to), a.Close(), b.Close())
	}
	n.conns[b] = true
	n.serving.Go(func() {
		_ = n.holder.Serve(context.WithoutCancel(ctx), b, from) // as it ends, so it ends
		b.Close()
		c.mu.Lock()
		delete(n.conns, b)
		c.mu.Unlock()
	})
	return a, nil
}

// reached is a node as another reaches it; nil while it does not.
func (c *nodes) reached(from, to string) *node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reachedNow(from, to)
}

// reachedNow is reached; mu is held.
func (c *nodes) reachedNow(from, to string) *node {
	if c.cut[from] || c.cut[to] {
		return nil
	}
	return c.all[to]
}

// taken counts the connections that a node has from another.
func (c *nodes) taken(to, from string) (count int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.all[to].conns {
		if conn.nodes[0] == from {
			count++
		}
	}
	return count
}

// gated is the holder's end of a connection; it stands still while one of its
// nodes is frozen, as a process does that is stopped.
type gated struct {
	net.Conn
	cluster *nodes
	nodes   [2]string
}

func (g *gated) wait(how map[string]chan struct{}) {
	for _, n := range g.nodes {
		g.cluster.mu.Lock()
		thaw := how[n]
		g.cluster.mu.Unlock()
		if thaw != nil {
			<-thaw
		}
	}
}

func (g *gated) Read(p []byte) (int, error) {
	if rate := g.cluster.rate.Load(); rate > 0 {
		p = p[:min(len(p), 32<<10)]
		defer func(due <-chan time.Time) { <-due }(time.After(time.Duration(len(p)) * time.Second / time.Duration(rate)))
	}
	n, err := g.Conn.Read(p)
	g.wait(g.cluster.frozen)
	g.wait(g.cluster.deaf)
	return n, err
}

func (g *gated) Write(p []byte) (int, error) {
	g.wait(g.cluster.frozen)
	return g.Conn.Write(p)
}

// freeze stops a node's connections until the function it returns is called,
// or what they take in alone.
func (c *nodes) freeze(id string, how map[string]chan struct{}) (thaw func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	stood := make(chan struct{})
	how[id], c.cut[id] = stood, true
	return sync.OnceFunc(func() {
		c.mu.Lock()
		delete(how, id)
		delete(c.cut, id)
		c.mu.Unlock()
		close(stood)
	})
}

// parts cuts a node off, and off the connections that another has taken, or ends
// that.
func (c *nodes) parts(id, from string, cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut[id] = cut
	for conn := range c.all[from].conns {
		if cut && conn.nodes[0] == id {
			conn.Close()
		}
	}
}

// put appends an entry, and waits until it is acknowledged.
func (n *node) put(body []byte) (journal.Position, error) {
	ctx, cancel := context.WithTimeout(n.cluster.t.Context(), time.Minute)
	defer cancel()
	a := n.journal.NewAppend(ctx)
	defer a.Abort()
	if _, err := a.Write(body); err != nil {
		return journal.Position{}, err
	}
	p, err := a.Commit([]byte("prefix"), body[:min(8, len(body))], nil)
	if err != nil {
		return journal.Position{}, err
	}
	e, err := p.Wait(ctx)
	if err != nil {
		return journal.Position{}, err
	}
	return e.Position, n.keeper.Await(ctx, e.Position)
}

// has tells whether a node has an entry of another's journal, bit for bit.
func (n *node) has(id string, at journal.Position, body []byte) error {
	c := n.holder.Copy(id)
	if c == nil {
		return fmt.Errorf("%s holds no copy", n.id)
	}
	r, err := c.Read(n.cluster.t.Context(), at, storage.Range{Offset: 6, Length: int64(len(body))})
	if err != nil {
		return err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err == nil && !bytes.Equal(b, body) {
		err = errors.New("other bytes")
	}
	return err
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// holders names the nodes that have an entry.
func (c *nodes) holders(of *node, at journal.Position, body []byte) (list []string) {
	for _, id := range []string{"n1", "n2", "n3"} {
		c.mu.Lock()
		n := c.all[id]
		c.mu.Unlock()
		if n != nil && n != of && n.has(of.journal.ID(), at, body) == nil {
			list = append(list, id)
		}
	}
	return list
}

// eventually looks until something is so.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); <-tick.C {
		if ok() {
			return
		}
	}
	t.Fatalf("it never came that %s", what)
}
