package peer

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
)

// LoadUnverified loads a certificate that need not be of the CA it trusts.
func LoadUnverified(dir, ca string) (*Credentials, error) {
	b, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, certFile), filepath.Join(dir, keyFile))
	if err != nil {
		return nil, err
	}
	c := &Credentials{cert: cert, roots: x509.NewCertPool(), Identity: Identity{RoleNode, "stranger"}}
	c.roots.AppendCertsFromPEM(b)
	return c, nil
}
