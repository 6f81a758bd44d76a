package clustertest

import (
	"context"
	"io"
	"net"
	"sync"
	"time"
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
	never := func() time.Time { return time.Time{} }
	var ways sync.WaitGroup
	ways.Go(func() {
		_, _ = io.Copy(far, near) // the end of it is what counts
		_ = c.pass(c.from, c.to, never)
		far.Close()
	})
	ways.Go(func() {
		_, _ = io.Copy(near, far)
		_ = c.pass(c.to, c.from, never)
		near.Close()
	})
	ways.Wait()
}
