package clustertest

import (
	"context"
	"io"
	"net"
	"sync"
)

// Relay carries a connection that a node has opened on to the address at which
// another listens, over the network: so nodes that are processes meet it, too.
// It returns when ctx ends, or an end has closed the connection and the other
// could hear of it: from behind a cut nobody does.
func (n *Network) Relay(ctx context.Context, from string, near net.Conn, addr string) {
	defer near.Close()
	far, err := n.Dial(from)(ctx, "tcp", addr)
	if err != nil {
		return
	}
	defer far.Close()
	stop := context.AfterFunc(ctx, func() {
		near.Close()
		far.Close()
	})
	defer stop()
	c, ok := far.(*conn)
	if !ok {
		return
	}
	var ways sync.WaitGroup
	ways.Go(func() {
		_, _ = io.Copy(far, near) // the end of it is what counts
		n.heard(ctx, c, c.from, c.to)
		far.Close()
	})
	ways.Go(func() {
		_, _ = io.Copy(near, far)
		n.heard(ctx, c, c.to, c.from)
		near.Close()
	})
	ways.Wait()
}

// heard waits until one end of a connection can hear of the other's end.
func (n *Network) heard(ctx context.Context, c *conn, from, to string) {
	for {
		ok, _, again := n.open(from, to)
		n.mu.Lock()
		ok = ok && !c.dead
		n.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-c.closed:
			return
		case <-again:
		}
	}
}
