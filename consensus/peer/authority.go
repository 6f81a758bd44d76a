package peer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/esante-alsace/cigogne/storage"
)

const (
	caKeyFile = "ca-key.pem"
	// authorityYears is how long a CA that is made here is valid.
	authorityYears = 20
	// backdated lets certificates be valid where clocks are a little behind.
	backdated = 24 * time.Hour
)

// Authority is a cluster's CA with its key, which is needed to make
// certificates and should lie on no node.
type Authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	now  func() time.Time
}

// OpenAuthority opens the CA in the folder (ca.pem and ca-key.pem), or makes
// one where neither file is. Half of a CA is storage.ErrInvalid.
func OpenAuthority(dir string) (*Authority, error) {
	a := &Authority{dir: dir, now: time.Now}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, caFile), filepath.Join(dir, caKeyFile))
	if err == nil {
		key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
		if !ok || pair.Leaf == nil || !pair.Leaf.IsCA {
			return nil, fmt.Errorf("%w: %s holds no CA that was made here", storage.ErrInvalid, dir)
		}
		a.cert, a.key = pair.Leaf, key
		return a, nil
	}
	for _, name := range []string{caFile, caKeyFile} {
		if _, serr := os.Stat(filepath.Join(dir, name)); !errors.Is(serr, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: the CA in %s: %w", storage.ErrInvalid, dir, err)
		}
	}
	return a, a.create()
}

func (a *Authority) create() (err error) {
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return fmt.Errorf("certificates: %w", err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "Cigogne cluster CA"},
		NotBefore:             a.now().Add(-backdated),
		NotAfter:              a.now().AddDate(authorityYears, 0, 0),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return fmt.Errorf("certificates: %w", err)
	}
	der, err := sign(template, template, a.key, a.key)
	if err != nil {
		return err
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return fmt.Errorf("certificates: %w", err)
	}
	return writePair(a.dir, caKeyFile, caFile, a.key, der)
}

// Issue writes ca.pem, cert.pem and key.pem for the identity into dir, valid
// for the time given. What lies there is replaced.
func (a *Authority) Issue(dir string, id Identity, valid time.Duration) error {
	if !ValidName(id.Name) {
		return fmt.Errorf("%w: %q cannot name a node: lower-case letters, digits, '-', '_' and '.'", storage.ErrInvalid, id.Name)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("certificates: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("certificates: %w", err)
	}
	der, err := sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: id.Name},
		URIs:        []*url.URL{id.uri()},
		NotBefore:   a.now().Add(-backdated),
		NotAfter:    a.now().Add(valid),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, a.cert, key, a.key)
	if err != nil {
		return err
	}
	if err := writePEM(filepath.Join(dir, caFile), "CERTIFICATE", a.cert.Raw); err != nil {
		return err
	}
	return writePair(dir, keyFile, certFile, key, der)
}

// sign makes a certificate for key.
func sign(template, parent *x509.Certificate, key, by *ecdsa.PrivateKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	return der, nil
}

func writePair(dir, keyName, certName string, key *ecdsa.PrivateKey, der []byte) error {
	b, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("certificates: %w", err)
	}
	if err := writePEM(filepath.Join(dir, keyName), "PRIVATE KEY", b); err != nil {
		return err
	}
	return writePEM(filepath.Join(dir, certName), "CERTIFICATE", der)
}

// writePEM writes a file that only its owner reads, whole or not at all.
func writePEM(path, kind string, der []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		return fmt.Errorf("certificates: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("certificates: %w", err)
	}
	return nil
}
