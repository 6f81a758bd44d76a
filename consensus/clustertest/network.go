// Package clustertest runs the nodes of a cluster in one process, over a
// network that can be cut, slowed and made one-way.
package clustertest

import (
	"context"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/esante-alsace/cigogne/consensus/peer"
)

// Network is what lies between nodes. A cut link is silent, as a network is:
// nothing arrives, and nobody is told.
type Network struct {
	mu      sync.Mutex
	names   map[string]string // of nodes by address
	cut     map[[2]string]bool
	delay   map[[2]string]time.Duration
	changed chan struct{}
	conns   map[*conn]struct{}
	down    map[string]bool // nodes that do not run
}

// NewNetwork returns a network on which everything arrives at once.
func NewNetwork() *Network {
	return &Network{
		names: map[string]string{}, cut: map[[2]string]bool{}, delay: map[[2]string]time.Duration{},
		changed: make(chan struct{}), conns: map[*conn]struct{}{}, down: map[string]bool{},
	}
}

// At says that a node listens at an address.
func (n *Network) At(addr, node string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.names[addr] = node
	delete(n.down, node)
}

// Down ends a node's connections, whatever happened to them before, and lets it
// make none: as the system does when a process dies.
func (n *Network) Down(node string) {
	var ended []*conn
	n.change(func() {
		n.down[node] = true
		for c := range n.conns {
			if c.from == node || c.to == node {
				ended = append(ended, c)
			}
		}
	})
	for _, c := range ended {
		c.Close()
	}
}

// Cut lets nothing pass from one node to another.
func (n *Network) Cut(from, to string) {
	n.change(func() { n.cut[[2]string{from, to}] = true })
}

// Isolate cuts every link between the nodes and the others, both ways.
func (n *Network) Isolate(nodes ...string) {
	n.change(func() {
		in := map[string]bool{}
		for _, name := range nodes {
			in[name] = true
		}
		for _, a := range n.names {
			for _, b := range n.names {
				if in[a] != in[b] {
					n.cut[[2]string{a, b}] = true
				}
			}
		}
	})
}

// Delay lets what passes between two nodes take time, each way.
func (n *Network) Delay(a, b string, by time.Duration) {
	n.change(func() { n.delay[[2]string{a, b}], n.delay[[2]string{b, a}] = by, by })
}

// Heal ends cuts and delays: what was held back arrives.
func (n *Network) Heal() {
	n.change(func() { clear(n.cut); clear(n.delay) })
}

// HalfOpen lets nothing pass any more on the connections that are open now
// between two nodes, and tells neither: as when a firewall forgets them. New
// connections can be made.
func (n *Network) HalfOpen(a, b string) {
	n.change(func() {
		for c := range n.conns {
			if c.from == a && c.to == b || c.from == b && c.to == a {
				c.dead = true
			}
		}
	})
}

func (n *Network) change(do func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	do()
	close(n.changed)
	n.changed = make(chan struct{})
}

// open tells whether bytes pass from one node to another now, what they take,
// and when to look again.
func (n *Network) open(from, to string) (ok bool, delay time.Duration, again <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.cut[[2]string{from, to}], n.delay[[2]string{from, to}], n.changed
}

// Dial is how the node reaches others.
func (n *Network) Dial(from string) peer.DialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		n.mu.Lock()
		to := n.names[addr]
		n.mu.Unlock()
		for {
			if n.isDown(from) || n.isDown(to) {
				return nil, syscall.ECONNREFUSED
			}
			there, delay, again := n.open(from, to)
			back, _, _ := n.open(to, from)
			if there && back {
				if err := wait(ctx, 2*delay); err != nil {
					return nil, err
				}
				break
			}
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-again:
			}
		}
		var d net.Dialer
		below, err := d.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		c := &conn{Conn: below, network: n, from: from, to: to, closed: make(chan struct{})}
		n.change(func() { n.conns[c] = struct{}{} })
		if n.isDown(from) || n.isDown(to) { // since it was dialled
			c.Close()
			return nil, syscall.ECONNRESET
		}
		return c, nil
	}
}

func (n *Network) isDown(node string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.down[node]
}

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// conn is the dialling end of a connection: both directions pass it.
type conn struct {
	net.Conn
	network  *Network
	from, to string
	dead     bool // network.mu is held

	once   sync.Once
	closed chan struct{}

	mu          sync.Mutex
	read, write time.Time // deadlines
}

// Write implements net.Conn: the way from here to there.
func (c *conn) Write(p []byte) (int, error) {
	if err := c.pass(c.from, c.to, func() time.Time { return c.write }); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// Read implements net.Conn: the way back.
func (c *conn) Read(p []byte) (int, error) {
	k, err := c.Conn.Read(p)
	if err != nil {
		return k, err
	}
	if err := c.pass(c.to, c.from, func() time.Time { return c.read }); err != nil {
		return 0, err
	}
	return k, nil
}

// pass waits until bytes pass, the deadline or the end of the connection.
func (c *conn) pass(from, to string, deadline func() time.Time) error {
	for {
		c.mu.Lock()
		until := deadline()
		c.mu.Unlock()
		ctx, cancel := context.WithCancel(context.Background())
		if !until.IsZero() {
			ctx, cancel = context.WithDeadline(context.Background(), until)
		}
		ok, delay, again := c.network.open(from, to)
		c.network.mu.Lock()
		ok = ok && !c.dead
		c.network.mu.Unlock()
		if ok {
			err := wait(ctx, delay)
			cancel()
			if err != nil {
				return os.ErrDeadlineExceeded
			}
			return nil
		}
		select {
		case <-ctx.Done():
			cancel()
			return os.ErrDeadlineExceeded
		case <-c.closed:
			cancel()
			return net.ErrClosed
		case <-again:
			cancel()
		}
	}
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.network.change(func() { delete(c.network.conns, c) })
	})
	return c.Conn.Close()
}

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	c.read, c.write = t, t
	c.mu.Unlock()
	c.look()
	return c.Conn.SetDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	c.read = t
	c.mu.Unlock()
	c.look()
	return c.Conn.SetReadDeadline(t)
}

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	c.write = t
	c.mu.Unlock()
	c.look()
	return c.Conn.SetWriteDeadline(t)
}

// look lets those who wait see the new deadline.
func (c *conn) look() { c.network.change(func() {}) }
