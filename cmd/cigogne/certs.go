package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/esante-alsace/cigogne/consensus/peer"
)

// certsCommand makes what the nodes of a cluster show each other.
type certsCommand struct {
	Dir       string   `default:"./cigogne-certs" placeholder:"DIR" type:"path" help:"Where the cluster's CA lies, or is made, and a folder for each name (${default})."`
	Days      int      `default:"825" help:"For how many days the certificates are valid (${default})."`
	Operators []string `name:"operator" placeholder:"NAME" help:"Who may call 'cigogne cluster' from elsewhere; repeatable."`
	Nodes     []string `arg:"" optional:"" name:"node" help:"Ids of nodes."`
}

// Validate implements kong's validation hook.
func (c *certsCommand) Validate() error {
	if len(c.Nodes)+len(c.Operators) == 0 {
		return fmt.Errorf("%w: name a node, or an --operator", errUsage)
	}
	if c.Days < 1 || c.Days > 7300 {
		return fmt.Errorf("%w: --days: 1 to 7300", errUsage)
	}
	for _, name := range append(append([]string{}, c.Nodes...), c.Operators...) {
		if !peer.ValidName(name) {
			return fmt.Errorf("%w: %q: lower-case letters, digits, '-', '_' and '.'", errUsage, name)
		}
	}
	return nil
}

// Run makes a CA where there is none, and the certificates.
func (c *certsCommand) Run(to console) error {
	ca, err := peer.OpenAuthority(c.Dir)
	if err != nil {
		return err
	}
	issue := func(role peer.Role, names []string) error {
		for _, name := range names {
			dir := filepath.Join(c.Dir, name)
			if err := ca.Issue(dir, peer.Identity{Role: role, Name: name}, time.Duration(c.Days)*24*time.Hour); err != nil {
				return err
			}
			fmt.Fprintf(to.out, "%s %s: %s\n", role, name, dir)
		}
		return nil
	}
	if err := issue(peer.RoleNode, c.Nodes); err != nil {
		return err
	}
	if err := issue(peer.RoleOperator, c.Operators); err != nil {
		return err
	}
	fmt.Fprintf(to.out, "\nGive each node its folder alone (--peer-certs). Whoever has %s can make more: keep it elsewhere.\n",
		filepath.Join(c.Dir, "ca-key.pem"))
	return nil
}

// loopbackDays is how long certificates are valid that are made for a cluster
// on one machine.
const loopbackDays = 3650

// credentials loads the node's certificate: that in the folder, or that of its
// name below it. For a cluster on loopback they are made when there are none.
func (c *clustering) credentials() (*peer.Credentials, error) {
	for _, dir := range []string{c.PeerCerts, filepath.Join(c.PeerCerts, c.NodeID)} {
		if _, err := os.Stat(filepath.Join(dir, "cert.pem")); err == nil {
			return peer.Load(dir)
		}
	}
	host, _, err := net.SplitHostPort(c.Peer)
	if err != nil || !loopback(host) {
		return peer.Load(filepath.Join(c.PeerCerts, c.NodeID)) // says what is missing
	}
	if err := c.makeCredentials(); err != nil {
		return nil, err
	}
	return peer.Load(filepath.Join(c.PeerCerts, c.NodeID))
}

// makeCredentials makes them while no other node of the machine does.
func (c *clustering) makeCredentials() error {
	if err := os.MkdirAll(c.PeerCerts, 0o700); err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(c.PeerCerts, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	ca, err := peer.OpenAuthority(c.PeerCerts)
	if err != nil {
		return err
	}
	for _, id := range []peer.Identity{{Role: peer.RoleNode, Name: c.NodeID}, {Role: peer.RoleOperator, Name: operatorName}} {
		dir := filepath.Join(c.PeerCerts, id.Name)
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := ca.Issue(dir, id, loopbackDays*24*time.Hour); err != nil {
			return err
		}
	}
	return nil
}

// operatorName is the certificate that 'cigogne cluster' looks for first.
const operatorName = "operator"

// callerCredentials are those of who calls: the folder's own, the operator's
// below it, or a node's.
func callerCredentials(dir string) (*peer.Credentials, error) {
	below, err := filepath.Glob(filepath.Join(dir, "*", "cert.pem"))
	if err != nil {
		return nil, err
	}
	found := append([]string{filepath.Join(dir, "cert.pem"), filepath.Join(dir, operatorName, "cert.pem")}, below...)
	for _, path := range found {
		if _, err := os.Stat(path); err == nil {
			return peer.Load(filepath.Dir(path))
		}
	}
	return nil, fmt.Errorf("%w: no certificate in %s: make one with 'cigogne certs --operator NAME', or name the folder of yours", errUsage, dir)
}
