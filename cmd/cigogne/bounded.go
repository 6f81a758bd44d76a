package main

import (
	"net"
	"sync"
)

// boundedListener lets most connections be open at a time; others wait to be
// accepted. Unlike golang.org/x/net/netutil's it hands on *net.TCPConn, through
// which the kernel sends a file's bytes itself.
type boundedListener struct {
	net.Listener
	slots chan struct{}
	done  chan struct{}
	once  *sync.Once
}

func bound(l net.Listener, most int) boundedListener {
	return boundedListener{Listener: l, slots: make(chan struct{}, most), done: make(chan struct{}), once: new(sync.Once)}
}

// Accept implements net.Listener.
func (b boundedListener) Accept() (net.Conn, error) {
	select {
	case b.slots <- struct{}{}:
	case <-b.done:
		return nil, net.ErrClosed
	}
	c, err := b.Listener.Accept()
	if err != nil {
		<-b.slots
		return nil, err
	}
	release := sync.OnceFunc(func() { <-b.slots })
	if t, ok := c.(*net.TCPConn); ok {
		return boundedTCP{t, release}, nil
	}
	return boundedConn{c, release}, nil
}

// open is how many connections are. One more slot is held while the next is
// waited for.
func (b boundedListener) open() int64 { return int64(max(len(b.slots)-1, 0)) }

// Close implements net.Listener.
func (b boundedListener) Close() error {
	b.once.Do(func() { close(b.done) })
	return b.Listener.Close()
}

type boundedTCP struct {
	*net.TCPConn
	release func()
}

func (c boundedTCP) Close() error {
	defer c.release()
	return c.TCPConn.Close()
}

type boundedConn struct {
	net.Conn
	release func()
}

func (c boundedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}
