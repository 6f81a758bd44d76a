package peer

import (
	"context"
	"net"
	"sync"
)

// connListener is a listener for a server that wants one: it yields the
// connections that a Handler is given.
type connListener struct {
	addr   net.Addr
	conns  chan *callConn
	once   sync.Once
	closed chan struct{}
}

func newConnListener(addr net.Addr) *connListener {
	return &connListener{addr: addr, conns: make(chan *callConn), closed: make(chan struct{})}
}

// callConn tells its Handler when the server has closed it.
type callConn struct {
	*Conn
	once sync.Once
	done chan struct{}
}

// Close implements net.Conn.
func (c *callConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.done) })
	return err
}

// handle is a Handler that gives the connection to the server.
func (l *connListener) handle(ctx context.Context, c *Conn) {
	conn := &callConn{Conn: c, done: make(chan struct{})}
	select {
	case l.conns <- conn:
	case <-l.closed:
		return
	case <-ctx.Done():
		return
	}
	<-conn.done
}

// Accept implements net.Listener.
func (l *connListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. Connections that were accepted stay open.
func (l *connListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *connListener) Addr() net.Addr { return l.addr }

// StreamListener returns a listener and the Handler that feeds it: for those
// who bring a server of their own, as raft does. The connections it yields
// are the server's to close.
func (p *Port) StreamListener() (net.Listener, Handler) {
	l := newConnListener(p.Addr())
	return l, l.handle
}
