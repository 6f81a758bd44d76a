package dimse_test

import (
	"context"
	"net"
	"sync"
	"testing"

	"github.com/esante-alsace/cigogne/gateway/dimse"
)

// pipes is a network of its own: in a bubble only who waits for nothing else lets
// time pass, so that nobody is late who is merely not given a processor. What is
// sent waits until it is read.
type pipes struct {
	calls  chan net.Conn
	closed chan struct{}
	close  func()
}

func newPipes() *pipes {
	p := &pipes{calls: make(chan net.Conn), closed: make(chan struct{})}
	p.close = sync.OnceFunc(func() { close(p.closed) })
	return p
}

// serveOver runs a Server as serve does.
func serveOver(t *testing.T, m *memory, change func(*dimse.Config)) *pipes {
	t.Helper()
	p := newPipes()
	serveOn(t, p, m, change)
	return p
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.calls:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.close()
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "pipe"} }

// DialContext is the Dialer's of an SCU.
func (p *pipes) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.calls <- there:
		return here, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// dial opens an association as the function of this name does.
func (p *pipes) dial(t *testing.T, window int) *dimse.Association {
	t.Helper()
	return dial(t, p.Addr().String(), func(c *dimse.SCUConfig) { c.Dialer, c.AsyncWindow = p, window })
}
