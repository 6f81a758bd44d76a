package main

import (
	"fmt"
	"path/filepath"
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
