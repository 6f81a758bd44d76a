// Package listener bounds how many connections of HTTP are open, of all hosts
// and of one, and lets one that is idle wait for its next request in the kernel.
package listener

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/esante-alsace/cigogne/gateway/throttle"
)

// Options say what a Listener lets in.
type Options struct {
	// Most connections are open at a time, MostOfHost of one host.
	Most, MostOfHost int
	// Quiet tells that nothing but requests is at work.
	Quiet func() bool
	// Refused is told of connections that are closed at once.
	Refused func(error)
}

// Listener lets most connections be open at a time; others wait to be
// accepted. Those of a host that has as many as one may are closed at once,
// with a word in HTTP/1 that the client may see. Unlike
// golang.org/x/net/netutil's it hands on *net.TCPConn, through which the kernel
// sends a file's bytes itself.
type Listener struct {
	net.Listener
	slots   chan struct{}
	hosts   *throttle.Slots
	lull    *lull
	refused func(error)
	done    chan struct{}
	once    sync.Once
}

// Bound returns a Listener that accepts from l. The http.Server that it is for
// calls ConnState.
func Bound(l net.Listener, o Options) *Listener {
	return &Listener{
		Listener: l, slots: make(chan struct{}, o.Most), hosts: throttle.NewSlots(o.Most, o.MostOfHost),
		lull: newLull(o.Quiet), refused: o.Refused, done: make(chan struct{}),
	}
}

// Accept implements net.Listener.
func (b *Listener) Accept() (net.Conn, error) {
	select {
	case b.slots <- struct{}{}:
	case <-b.done:
		return nil, net.ErrClosed
	}
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			<-b.slots
			return nil, err
		}
		leave, err := b.hosts.Take(throttle.Caller(c.RemoteAddr().String()))
		if err != nil {
			b.refused(err)
			sendAway(c)
			continue
		}
		release := sync.OnceFunc(func() {
			leave()
			<-b.slots
		})
		if t, ok := c.(*net.TCPConn); ok {
			return &tcpConn{TCPConn: t, release: release, lull: b.lull}, nil
		}
		return conn{c, release}, nil
	}
}

// sendAway closes a connection of which nothing was read. What it says fits
// into what the kernel takes of a new connection, and is not waited for.
func sendAway(c net.Conn) {
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = io.WriteString(c, "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
	c.Close()
}

// Open is how many connections are. One more slot is held while the next is
// waited for.
func (b *Listener) Open() int64 { return int64(max(len(b.slots)-1, 0)) }

// Close implements net.Listener.
func (b *Listener) Close() error {
	b.once.Do(func() { close(b.done) })
	return b.Listener.Close()
}

type tcpConn struct {
	*net.TCPConn
	release func()
	lull    *lull
	state   atomic.Int64 // an http.ConnState
}

func (c *tcpConn) Close() error {
	defer c.release()
	return c.TCPConn.Close()
}

type conn struct {
	net.Conn
	release func()
}

func (c conn) Close() error {
	defer c.release()
	return c.Conn.Close()
}
