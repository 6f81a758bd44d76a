// Package peer is the one port on which the nodes of a cluster speak to each
// other: TLS 1.3, both ends shown by certificates of the cluster's own CA, and
// what is spoken chosen by ALPN (RFC 7301). It knows who is at the other end;
// what they say to each other it does not.
package peer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"time"

	"github.com/esante-alsace/cigogne/storage"
)

// What is spoken on the port, as ALPN names it. The number is the version:
// a node that speaks another is refused by the handshake.
const (
	// ProtoRaft is hashicorp/raft's transport.
	ProtoRaft = "cigogne-raft/2"
	// ProtoCopy is the copying of journals.
	ProtoCopy = "cigogne-copy/2"
	// ProtoHTTP is HTTP/1.1: small calls, and fetches.
	ProtoHTTP = "http/1.1"
)

const (
	// handshakeTimeout bounds a handshake, and dialing with it.
	handshakeTimeout = 5 * time.Second
	// refusedWithin is how soon who is refused is spoken to no more.
	refusedWithin = time.Second
	// nameBytes is the longest name of a node or operator.
	nameBytes = 64
)

// Role tells nodes from those who look after them.
type Role string

const (
	// RoleNode is that of a node of the cluster.
	RoleNode Role = "node"
	// RoleOperator is that of a person or a script: HTTP calls only.
	RoleOperator Role = "operator"
)

// Identity is who a certificate says is at the other end.
type Identity struct {
	Role Role
	Name string
}

// String is the identity as it stands in the certificate.
func (i Identity) String() string { return i.uri().String() }

func (i Identity) uri() *url.URL {
	return &url.URL{Scheme: "cigogne", Host: string(i.Role), Path: "/" + i.Name}
}

// Node is a node as others find it. With an empty ID it is whoever of the
// cluster's nodes listens there.
type Node struct {
	ID   string
	Addr string // HOST:PORT
}

// ValidName tells whether s can name a node: 1 to 64 lower-case letters,
// digits, '-', '_' and '.', of which the first is a letter or a digit.
func ValidName(s string) bool {
	if s == "" || len(s) > nameBytes {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case i > 0 && (c == '-' || c == '_' || c == '.'):
		default:
			return false
		}
	}
	return true
}

// identityOf reads who a certificate stands for: its only cigogne URI.
func identityOf(c *x509.Certificate) (Identity, error) {
	var found []Identity
	for _, u := range c.URIs {
		if u.Scheme == "cigogne" && len(u.Path) > 1 {
			found = append(found, Identity{Role(u.Host), u.Path[1:]})
		}
	}
	if len(found) != 1 || !ValidName(found[0].Name) || found[0].Role != RoleNode && found[0].Role != RoleOperator {
		return Identity{}, fmt.Errorf("%w: the certificate names no node of a cluster", storage.ErrForbidden)
	}
	return found[0], nil
}

// Conn is a connection of which both ends are known.
type Conn struct {
	*tls.Conn
	Peer Identity
	// Made is the latest that the other end's certificate may have been made.
	Made time.Time
}

// newConn takes a connection after its handshake.
func newConn(c *tls.Conn) (*Conn, error) {
	certs := c.ConnectionState().PeerCertificates
	if len(certs) == 0 {
		return nil, fmt.Errorf("%w: no certificate", storage.ErrForbidden)
	}
	id, err := identityOf(certs[0])
	if err != nil {
		return nil, err
	}
	return &Conn{Conn: c, Peer: id, Made: certs[0].NotBefore.Add(backdated)}, nil
}

type connKey struct{}

// From is who calls, in the context of a request that came over the port.
func From(ctx context.Context) (Identity, bool) {
	c, ok := ctx.Value(connKey{}).(*Conn)
	if !ok {
		return Identity{}, false
	}
	return c.Peer, true
}
