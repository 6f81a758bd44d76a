package consensus

import (
	"context"
	"net"
	"time"

	"github.com/hashicorp/raft"

	"github.com/esante-alsace/cigogne/consensus/peer"
)

// stream is raft's way to the other nodes: connections of the peer port.
type stream struct {
	net.Listener
	ctx    context.Context // ends when the node closes
	dialer *peer.Dialer
	// id names the node at an address, as far as it is known.
	id func(addr string) string
}

// Dial implements raft.StreamLayer.
func (s *stream) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(s.ctx, timeout)
	defer cancel()
	return s.dialer.Dial(ctx, peer.Node{ID: s.id(string(to)), Addr: string(to)}, peer.ProtoRaft)
}

// listenAddr is a listener whose address is the one that others are told.
type listenAddr struct {
	net.Listener
	addr advertised
}

// Addr implements net.Listener.
func (l listenAddr) Addr() net.Addr { return l.addr }

// advertised is where a node is reached.
type advertised string

// Network implements net.Addr.
func (advertised) Network() string { return "tcp" }

// String implements net.Addr.
func (a advertised) String() string { return string(a) }
