package peer

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/esante-alsace/cigogne/storage"
)

// The files of a node's or operator's folder.
const (
	caFile   = "ca.pem"
	certFile = "cert.pem"
	keyFile  = "key.pem"
)

// Credentials are what a node or an operator shows, and the CA whose
// certificates it trusts.
type Credentials struct {
	Identity Identity
	cert     tls.Certificate
	roots    *x509.CertPool
	ends     time.Time // when the first of roots does
}

// Load reads ca.pem, cert.pem and key.pem from a folder, as Issue writes them.
// A missing file is storage.ErrNotFound, an unfit one storage.ErrInvalid.
func Load(dir string) (*Credentials, error) {
	ca, err := os.ReadFile(filepath.Join(dir, caFile))
	if err != nil {
		return nil, unreadable(err)
	}
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, certFile), filepath.Join(dir, keyFile))
	if err != nil {
		return nil, unreadable(err)
	}
	c := &Credentials{cert: cert, roots: x509.NewCertPool(), ends: firstEnd(ca)}
	if !c.roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%w: %s holds no certificate", storage.ErrInvalid, filepath.Join(dir, caFile))
	}
	if c.cert.Leaf == nil {
		return nil, fmt.Errorf("%w: %s holds no certificate", storage.ErrInvalid, filepath.Join(dir, certFile))
	}
	if c.Identity, err = c.verify([]*x509.Certificate{c.cert.Leaf}); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, certFile), err)
	}
	return c, nil
}

// Expiry is when the certificate is valid no longer.
func (c *Credentials) Expiry() time.Time { return c.cert.Leaf.NotAfter }

// AuthorityExpiry is when the CA's certificate is valid no longer: of several,
// the first.
func (c *Credentials) AuthorityExpiry() time.Time { return c.ends }

// firstEnd is when the first of the certificates ends.
func firstEnd(bundle []byte) (first time.Time) {
	for {
		var block *pem.Block
		if block, bundle = pem.Decode(bundle); block == nil {
			return first
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err == nil && (first.IsZero() || cert.NotAfter.Before(first)) {
			first = cert.NotAfter
		}
	}
}

func unreadable(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: certificates: %w", storage.ErrNotFound, err)
	}
	return fmt.Errorf("%w: certificates: %w", storage.ErrInvalid, err)
}

// verify holds a chain to the cluster's CA and returns whom it names. Names of
// hosts do not count: nodes are known by their ids, wherever they are.
func (c *Credentials) verify(chain []*x509.Certificate) (Identity, error) {
	if len(chain) == 0 {
		return Identity{}, fmt.Errorf("%w: no certificate", storage.ErrForbidden)
	}
	between := x509.NewCertPool()
	for _, i := range chain[1:] {
		between.AddCert(i)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: c.roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return Identity{}, fmt.Errorf("%w: not a certificate of this cluster: %w", storage.ErrForbidden, err)
	}
	return identityOf(chain[0])
}

// config is the part of both ends' configuration that is the same. The other
// end must stand for what want says; nil takes whoever the CA knows.
func (c *Credentials) config(protos []string, want func(Identity) error) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{c.cert},
		NextProtos:             protos,
		SessionTicketsDisabled: true, // every connection shows its certificate
		// verify does all of it, without names of hosts.
		ClientAuth:         tls.RequireAnyClientCert,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection verifies
		VerifyConnection: func(s tls.ConnectionState) error {
			id, err := c.verify(s.PeerCertificates)
			if err != nil || want == nil {
				return err
			}
			return want(id)
		},
	}
}
