package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/trace"
)

const (
	// idleConns is how many connections to a node are kept for the next call,
	// and idleTime for how long.
	idleConns = 16
	idleTime  = 30 * time.Second
	// knownNodes bounds the nodes for which connections are kept.
	knownNodes = 64
	// dialsAtOnce is how many connections for calls are opened to a node at a
	// time. Its port has room for handshakesMost who are not known yet, and
	// closes whoever comes beside them, be it raft.
	dialsAtOnce = 16
)

// DialFunc opens the connection below TLS.
type DialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// Dialer reaches nodes. Its methods are safe for use by many goroutines.
type Dialer struct {
	credentials *Credentials
	dial        DialFunc

	mu      sync.Mutex
	clients map[Node]*http.Client
}

// NewDialer returns a Dialer that shows the credentials; dial may be nil.
func NewDialer(c *Credentials, dial DialFunc) *Dialer {
	if dial == nil {
		dial = (&net.Dialer{KeepAliveConfig: keepAlive()}).DialContext
	}
	return &Dialer{credentials: c, dial: dial, clients: map[Node]*http.Client{}}
}

// keepAlive notices within some 10 s that the other machine is gone.
func keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: 4 * time.Second, Interval: 2 * time.Second, Count: 3}
}

// Self is who the other ends see.
func (d *Dialer) Self() Identity { return d.credentials.Identity }

// Dial connects to a node for one of the Proto constants. A node that is not
// the one meant, or of another cluster, is storage.ErrForbidden, one that
// cannot be reached within 5 s storage.ErrUnavailable. The end of ctx after
// Dial returned does not end the connection.
func (d *Dialer) Dial(ctx context.Context, n Node, proto string) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	plain, err := d.dial(ctx, "tcp", n.Addr)
	if err != nil {
		return nil, fmt.Errorf("%w: node %s: %w", storage.ErrUnavailable, n.name(), err)
	}
	c := tls.Client(plain, d.credentials.config([]string{proto}, n.is))
	if err := c.HandshakeContext(ctx); err != nil {
		plain.Close()
		return nil, fmt.Errorf("node %s: %w", n.name(), handshakeFailed(err))
	}
	conn, err := newConn(c)
	if err != nil {
		c.Close()
		return nil, err
	}
	return conn, nil
}

// handshakeFailed keeps what verify found; anything else may pass.
func handshakeFailed(err error) error {
	var op *net.OpError
	if errors.Is(err, storage.ErrForbidden) {
		return err
	}
	if errors.As(err, &op) && op.Op == "remote error" { // an alert: the other end refused us
		return fmt.Errorf("%w: %w", storage.ErrForbidden, err)
	}
	return fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
}

func (n Node) name() string {
	if n.ID == "" {
		return n.Addr
	}
	return n.ID + " at " + n.Addr
}

// is holds the other end to the node that is meant.
func (n Node) is(id Identity) error {
	if id.Role != RoleNode || n.ID != "" && id.Name != n.ID {
		return fmt.Errorf("%w: %s answers there", storage.ErrForbidden, id)
	}
	return nil
}

// Client makes HTTP calls to the node, whatever host the URL names; by custom
// it is the node's id. Connections are kept for the next call. A call has no
// time limit but its context's.
func (d *Dialer) Client(n Node) *http.Client {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c, ok := d.clients[n]; ok {
		return c
	}
	if len(d.clients) >= knownNodes {
		for k, c := range d.clients { // any: it is only dialled again
			c.CloseIdleConnections()
			delete(d.clients, k)
			break
		}
	}
	dialing := make(chan struct{}, dialsAtOnce)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, handshakeTimeout) // to wait is part of it
		defer cancel()
		select {
		case dialing <- struct{}{}:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: node %s: %w", storage.ErrUnavailable, n.name(), ctx.Err())
		}
		defer func() { <-dialing }()
		return d.Dial(ctx, n, ProtoHTTP)
	}
	c := &http.Client{
		Transport: following{&http.Transport{
			DialContext: dial, MaxIdleConnsPerHost: idleConns, IdleConnTimeout: idleTime, DisableCompression: true,
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	d.clients[n] = c
	return c
}

// following names in each call the trace that it is part of.
type following struct{ *http.Transport }

// RoundTrip implements http.RoundTripper.
func (f following) RoundTrip(r *http.Request) (*http.Response, error) {
	if ctx := r.Context(); trace.Of(ctx).On() {
		r = r.Clone(ctx)
		trace.Outgoing(ctx, r.Header)
	}
	return f.Transport.RoundTrip(r)
}

// Close gives back the connections that are kept.
func (d *Dialer) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for k, c := range d.clients {
		c.CloseIdleConnections()
		delete(d.clients, k)
	}
}
