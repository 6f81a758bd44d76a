package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/esante-alsace/cigogne/gateway/throttle"
	"github.com/esante-alsace/cigogne/storage"
)

// listen takes the address that a flag names. One that another process has is
// storage.ErrUnavailable, one that cannot be had errUsage.
func listen(ctx context.Context, flag, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%w: --%s %s is in use: stop who listens there, perhaps another node, or choose another port", storage.ErrUnavailable, flag, addr)
	case err != nil:
		return nil, fmt.Errorf("%w: --%s: %w", errUsage, flag, err)
	}
	return l, nil
}

// boundedListener lets most connections be open at a time; others wait to be
// accepted. Those of a host that has as many as one may are closed at once,
// with a word in HTTP/1 that the client may see. Unlike
// golang.org/x/net/netutil's it hands on *net.TCPConn, through which the kernel
// sends a file's bytes itself.
type boundedListener struct {
	net.Listener
	slots chan struct{}
	hosts *throttle.Slots
	lull  *lull
	away  func(error) // told of those that are closed at once
	done  chan struct{}
	once  *sync.Once
}

func bound(l net.Listener, most, mostOfHost int, lull *lull, away func(error)) boundedListener {
	return boundedListener{
		Listener: l, slots: make(chan struct{}, most), hosts: throttle.NewSlots(most, mostOfHost), lull: lull, away: away,
		done: make(chan struct{}), once: new(sync.Once),
	}
}

// Accept implements net.Listener.
func (b boundedListener) Accept() (net.Conn, error) {
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
			b.away(err)
			sendAway(c)
			continue
		}
		release := sync.OnceFunc(func() {
			leave()
			<-b.slots
		})
		if t, ok := c.(*net.TCPConn); ok {
			return &boundedTCP{TCPConn: t, release: release, lull: b.lull}, nil
		}
		return boundedConn{c, release}, nil
	}
}

// sendAway closes a connection of which nothing was read. What it says fits
// into what the kernel takes of a new connection, and is not waited for.
func sendAway(c net.Conn) {
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = io.WriteString(c, "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
	c.Close()
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
	lull    *lull
	state   atomic.Int64 // an http.ConnState
}

func (c *boundedTCP) Close() error {
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
