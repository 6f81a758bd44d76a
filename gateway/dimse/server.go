package dimse

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/esante-alsace/cigogne/gateway/dimse/pdu"
	"github.com/esante-alsace/cigogne/gateway/throttle"
)

// Server is the SCP: it accepts associations and serves what Config has the
// parts for.
type Server struct {
	cfg        Config
	actions    chan struct{}   // holds a token for each N-ACTION that is read or made durable
	operations *throttle.Slots // of Query/Retrieve
	retrievals *turns          // of those that send

	mu          sync.Mutex
	connections map[*association]struct{} // in whatever state
	established int
	perAE       map[string]int // established, by calling AE title
}

// NewServer returns a Server.
func NewServer(cfg Config) *Server {
	cfg = cfg.withDefaults()
	return &Server{
		cfg:         cfg,
		operations:  throttle.NewSlots(cfg.MaxOperations, cfg.MaxOperationsPerHost),
		actions:     make(chan struct{}, actionsAtOnce),
		retrievals:  newTurns(cfg.MaxRetrievals),
		connections: map[*association]struct{}{},
		perAE:       map[string]int{},
	}
}

// Serve accepts associations from ln until ctx ends, and then returns nil once
// all associations have ended: they have Config.Grace to do so and are
// aborted after it. It closes ln. An error is that of a listener that broke.
// TLS comes with the listener.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	hangUp := func() { _ = ln.Close() }
	defer hangUp()
	defer context.AfterFunc(ctx, hangUp)()
	hard, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var all sync.WaitGroup
	err := s.acceptAll(ctx, ln, func(c net.Conn) {
		a := newAssociation(s, c)
		if !s.enter(a) {
			all.Go(func() { a.turnAway() })
			return
		}
		all.Go(func() {
			defer s.leave(a)
			a.run(hard)
		})
	})
	s.drain(&all, stop)
	return err
}

// acceptRetry is the wait after an error that may pass, such as having too
// many open files.
const acceptRetry = 50 * time.Millisecond

func (s *Server) acceptAll(ctx context.Context, ln net.Listener, serve func(net.Conn)) error {
	for {
		c, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = c.Close()
			}
			return nil
		case err == nil:
			serve(c)
		case errors.Is(err, net.ErrClosed):
			return err
		default:
			s.cfg.Log.Warn("cannot accept a connection", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(acceptRetry):
			}
		}
	}
}

// drain waits for all to end, at first patiently.
func (s *Server) drain(all *sync.WaitGroup, stop context.CancelFunc) {
	done := make(chan struct{})
	go func() {
		all.Wait()
		close(done)
	}()
	grace := time.NewTimer(s.cfg.Grace)
	defer grace.Stop()
	select {
	case <-done:
		return
	case <-grace.C:
	}
	stop()
	s.mu.Lock()
	for a := range s.connections {
		a.link.wire.stop()
	}
	s.mu.Unlock()
	<-done
}

// enter counts a connection, or tells that there are too many.
func (s *Server) enter(a *association) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.connections) >= s.cfg.MaxConnections {
		return false
	}
	s.connections[a] = struct{}{}
	return true
}

func (s *Server) leave(a *association) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.connections, a)
}

// establish counts an association, or returns why there cannot be another.
func (s *Server) establish(callingAETitle string) *pdu.AssociateRJ {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cfg.Draining != nil && s.cfg.Draining() ||
		s.established >= s.cfg.MaxAssociations || s.perAE[callingAETitle] >= s.cfg.MaxAssociationsPerAE {
		rj := pdu.RejectLimit()
		return &rj
	}
	s.established++
	s.perAE[callingAETitle]++
	return nil
}

// Established is how many associations there are now.
func (s *Server) Established() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.established
}

func (s *Server) release(callingAETitle string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.established--
	if s.perAE[callingAETitle]--; s.perAE[callingAETitle] == 0 {
		delete(s.perAE, callingAETitle)
	}
}
