// Package certs finds the certificates of nodes and operators in a folder as
// 'cigogne certs' makes it: the CA's, with a folder for each name.
package certs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/esante-alsace/cigogne/consensus/peer"
)

const (
	// loopbackDays is how long certificates are valid that are made for a
	// cluster on one machine.
	loopbackDays = 3650
	// operatorName is the certificate that is looked for first for who calls.
	operatorName = "operator"
)

// ErrNone is said of a folder without a certificate.
var ErrNone = errors.New("no certificate")

// OfNode loads a node's certificate: that in the folder, or that of its name
// below it. Where there is none one is made, and an operator's, for a cluster on
// loopback.
func OfNode(dir, node string, loopback bool) (*peer.Credentials, error) {
	own := filepath.Join(dir, node)
	for _, at := range []string{dir, own} {
		if there(at) {
			return peer.Load(at)
		}
	}
	if loopback {
		if err := issue(dir, node); err != nil {
			return nil, err
		}
	}
	return peer.Load(own) // says what is missing
}

// issue makes those of the node and of an operator, while no other node of the
// machine does.
func issue(dir, node string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	ca, err := peer.OpenAuthority(dir)
	if err != nil {
		return err
	}
	for _, id := range []peer.Identity{{Role: peer.RoleNode, Name: node}, {Role: peer.RoleOperator, Name: operatorName}} {
		own := filepath.Join(dir, id.Name)
		if _, err := os.Stat(own); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := ca.Issue(own, id, loopbackDays*24*time.Hour); err != nil {
			return err
		}
	}
	return nil
}

// OfCaller loads the certificate of who calls: the folder's own, the operator's
// below it, or a node's; ErrNone when there is none.
func OfCaller(dir string) (*peer.Credentials, error) {
	below, err := filepath.Glob(filepath.Join(dir, "*", "cert.pem"))
	if err != nil {
		return nil, err
	}
	found := []string{dir, filepath.Join(dir, operatorName)}
	for _, path := range below {
		found = append(found, filepath.Dir(path))
	}
	for _, at := range found {
		if there(at) {
			return peer.Load(at)
		}
	}
	return nil, ErrNone
}

// there tells whether a certificate is in the folder.
func there(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "cert.pem"))
	return err == nil
}
