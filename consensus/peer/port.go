package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/esante-alsace/cigogne/storage"
)

const (
	defaultMaxConns = 1024
	// handshakesMost bounds those who are not known yet.
	handshakesMost = 64
	// headerBytes and headerTime bound the header of a call.
	headerBytes = 16 << 10
	headerTime  = 10 * time.Second
)

// Handler speaks on one connection, which is closed when it returns. It must
// return soon after the connection fails or ctx ends, and the port closes the
// connection when ctx does.
type Handler func(ctx context.Context, c *Conn)

// PortOptions say where a port listens and as whom.
type PortOptions struct {
	// Addr is HOST:PORT. It is not used when Listener is given.
	Addr        string
	Listener    net.Listener
	Credentials *Credentials
	// MaxConns bounds the connections; more are closed at once. A quarter of
	// them are not for calls. 0 means 1024.
	MaxConns int
	// Refuses, when set, tells why a node is not let in whose certificate was
	// made then, or earlier; nil lets it in. It is asked at each connection, and
	// at each call.
	Refuses func(id Identity, made time.Time) error
	Logger  *slog.Logger
}

// Port is the node's end of the cluster.
type Port struct {
	o        PortOptions
	listener net.Listener
	handlers map[string]Handler
	http     http.Handler
	calls    *connListener

	// slots holds a token for each connection, callSlots for those of calls.
	slots, callSlots, handshakes chan struct{}
	work                         sync.WaitGroup
}

// Listen opens the port. Handle and HandleHTTP say what is spoken on it, and
// then Serve must be called, or Close.
func Listen(ctx context.Context, o PortOptions) (*Port, error) {
	if o.MaxConns <= 0 {
		o.MaxConns = defaultMaxConns
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Credentials.Identity.Role != RoleNode {
		return nil, fmt.Errorf("%w: %s is no node", storage.ErrForbidden, o.Credentials.Identity)
	}
	p := &Port{
		o: o, listener: o.Listener, handlers: map[string]Handler{},
		slots: make(chan struct{}, o.MaxConns), callSlots: make(chan struct{}, max(1, o.MaxConns*3/4)),
		handshakes: make(chan struct{}, handshakesMost),
	}
	if p.listener == nil {
		lc := net.ListenConfig{KeepAliveConfig: keepAlive()}
		var err error
		if p.listener, err = lc.Listen(ctx, "tcp", o.Addr); err != nil {
			return nil, fmt.Errorf("peer port: %w", err)
		}
	}
	p.calls = newConnListener(p.listener.Addr())
	return p, nil
}

// Addr is where the port listens.
func (p *Port) Addr() net.Addr { return p.listener.Addr() }

// Handle sets who speaks a protocol, before Serve. Only nodes are let in.
func (p *Port) Handle(proto string, h Handler) { p.handlers[proto] = h }

// HandleHTTP sets who answers calls, before Serve. Nodes and operators are
// let in: From tells which it is.
func (p *Port) HandleHTTP(h http.Handler) { p.http = h }

// Close closes a port that was not served.
func (p *Port) Close() error { return p.listener.Close() }

// Serve takes connections until ctx ends, closes them and waits for their
// handlers.
func (p *Port) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer p.work.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { p.listener.Close() })
	defer stop()
	defer p.listener.Close()
	if p.http != nil {
		p.handlers[ProtoHTTP] = p.calls.handle
		p.work.Go(func() { p.serveHTTP(ctx) })
	}
	protos := make([]string, 0, len(p.handlers))
	for _, proto := range []string{ProtoRaft, ProtoCopy, ProtoHTTP} {
		if p.handlers[proto] != nil {
			protos = append(protos, proto)
		}
	}
	config := p.o.Credentials.config(protos, nil)
	for {
		c, err := p.listener.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				c.Close()
			}
			return ctx.Err()
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("peer port: %w", err)
		case err != nil: // out of files, mostly: those who are there go on
			p.o.Logger.Warn("peer port takes no connection", "error", err)
			if err := pause(ctx, 100*time.Millisecond); err != nil {
				return err
			}
			continue
		}
		p.take(ctx, tls.Server(c, config))
	}
}

// Connections is how many are open, and how many may be.
func (p *Port) Connections() (now, most int) { return len(p.slots), cap(p.slots) }

// take speaks on a connection if there is room for it.
func (p *Port) take(ctx context.Context, c *tls.Conn) {
	select {
	case p.handshakes <- struct{}{}:
	default:
		c.NetConn().Close()
		return
	}
	p.work.Go(func() {
		conn, h, err := p.greet(ctx, c)
		<-p.handshakes
		if err != nil {
			c.NetConn().Close()
			p.o.Logger.Warn("peer port refused a connection", "from", c.RemoteAddr().String(), "error", err)
			return
		}
		defer conn.Close()
		leave, ok := p.enter(conn)
		if !ok {
			p.o.Logger.Warn("peer port has no room for a connection", "peer", conn.Peer.String())
			return
		}
		defer leave()
		stop := context.AfterFunc(ctx, func() { conn.NetConn().Close() })
		defer stop()
		done, watched := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(watched)
			p.watch(conn, done)
		}()
		h(ctx, conn)
		close(done)
		<-watched
	})
}

// enter takes a place for a connection, if there is one. Calls, of which there
// may be many, leave a quarter to raft and to copies: without, nothing could be
// decided or acknowledged.
func (p *Port) enter(c *Conn) (leave func(), ok bool) {
	var taken []chan struct{}
	leave = func() {
		for _, slots := range taken {
			<-slots
		}
	}
	wanted := []chan struct{}{p.slots}
	if c.ConnectionState().NegotiatedProtocol == ProtoHTTP {
		wanted = append(wanted, p.callSlots)
	}
	for _, slots := range wanted {
		select {
		case slots <- struct{}{}:
			taken = append(taken, slots)
		default:
			leave()
			return nil, false
		}
	}
	return leave, true
}

// watch closes a connection when its other end is not let in any more, until
// done.
func (p *Port) watch(conn *Conn, done <-chan struct{}) {
	if p.o.Refuses == nil {
		return
	}
	tick := time.NewTicker(refusedWithin)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			if err := p.refuses(conn); err != nil {
				p.o.Logger.Warn("peer port closes a connection", "peer", conn.Peer.String(), "error", err)
				conn.NetConn().Close()
				return
			}
		}
	}
}

// greet does the handshake and finds who speaks.
func (p *Port) greet(ctx context.Context, c *tls.Conn) (*Conn, Handler, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, nil, err
	}
	conn, err := newConn(c)
	if err != nil {
		return nil, nil, err
	}
	proto := c.ConnectionState().NegotiatedProtocol
	h, ok := p.handlers[proto]
	if !ok {
		return nil, nil, fmt.Errorf("%w: protocol %q", storage.ErrUnsupported, proto)
	}
	if conn.Peer.Role != RoleNode && proto != ProtoHTTP {
		return nil, nil, fmt.Errorf("%w: %s may not speak %s", storage.ErrForbidden, conn.Peer, proto)
	}
	if proto != ProtoHTTP { // calls are told why
		if err := p.refuses(conn); err != nil {
			return nil, nil, err
		}
	}
	return conn, h, nil
}

// refuses tells why the other end is not let in, or nil.
func (p *Port) refuses(c *Conn) error {
	if p.o.Refuses == nil || c.Peer.Role != RoleNode {
		return nil
	}
	return p.o.Refuses(c.Peer, c.Made)
}

// calling lets calls be answered of those who are let in.
func (p *Port) calling(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := r.Context().Value(connKey{}).(*Conn)
		if !ok {
			http.Error(w, "no certificate", http.StatusForbidden)
			return
		}
		if err := p.refuses(c); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (p *Port) serveHTTP(ctx context.Context) {
	server := &http.Server{
		Handler:           p.calling(p.http),
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       2 * idleTime, // longer than who calls keeps it
		MaxHeaderBytes:    headerBytes,
		ErrorLog:          slog.NewLogLogger(p.o.Logger.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if conn, ok := c.(*callConn); ok {
				return context.WithValue(ctx, connKey{}, conn.Conn)
			}
			return ctx
		},
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(p.calls); !errors.Is(err, http.ErrServerClosed) {
		p.o.Logger.Error("peer port answers no calls", "error", err)
	}
}

// pause waits for d, or fails with ctx's error when that ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
