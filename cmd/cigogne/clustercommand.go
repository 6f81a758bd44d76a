package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/esante-alsace/cigogne/cmd/cigogne/certs"
	"github.com/esante-alsace/cigogne/consensus"
	"github.com/esante-alsace/cigogne/consensus/peer"
	"github.com/esante-alsace/cigogne/storage"
)

// clusterCommand looks at a cluster and changes it, through any of its nodes.
type clusterCommand struct {
	Status   clusterStatus   `cmd:"" help:"Show every node."`
	Add      clusterAdd      `cmd:"" help:"Take in a node that was removed."`
	Remove   clusterRemove   `cmd:"" help:"Take a node out for good, such as one whose disk is gone."`
	Transfer clusterTransfer `cmd:"" name:"transfer-leader" help:"Make another node lead."`
	Drain    clusterDrain    `cmd:"" help:"Let a node take nothing new before it is stopped."`
}

// contact says which node is asked, and as whom.
type contact struct {
	Peer      string `default:"127.0.0.1:7001" placeholder:"ADDR" help:"Peer address of any node (${default})."`
	PeerCerts string `default:"./cigogne-certs" placeholder:"DIR" type:"path" help:"Folder of an operator's or node's certificate, or of those that 'cigogne certs' made (${default})."`
}

// callTimeout bounds one command.
const callTimeout = 30 * time.Second

func (c *contact) call(ctx context.Context, do func(context.Context, consensus.Client) error) error {
	credentials, err := certs.OfCaller(c.PeerCerts)
	if errors.Is(err, certs.ErrNone) {
		return fmt.Errorf("--peer-certs: %w: no certificate in %s: make one with 'cigogne certs --operator NAME', or name the folder of yours", errUsage, c.PeerCerts)
	}
	if err != nil {
		return fmt.Errorf("--peer-certs: %w", err)
	}
	d := peer.NewDialer(credentials, nil)
	defer d.Close()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err = do(ctx, consensus.Client{Dialer: d, Node: peer.Node{Addr: c.Peer}})
	if errors.Is(err, storage.ErrUnavailable) {
		return fmt.Errorf("%w: another node may answer (--peer)", err)
	}
	return err
}

type clusterStatus struct {
	contact
	JSON bool `name:"json" help:"Print it as JSON."`
}

// Run shows every node.
func (s *clusterStatus) Run(ctx context.Context, to console) error {
	return s.call(ctx, func(ctx context.Context, c consensus.Client) error {
		all, err := c.Overview(ctx)
		if err != nil {
			return err
		}
		if s.JSON {
			e := json.NewEncoder(to.out)
			e.SetIndent("", "  ")
			return e.Encode(all)
		}
		return printCluster(to, all)
	})
}

func printCluster(to console, all []consensus.Status) error {
	members := map[string]consensus.Member{}
	for _, s := range all {
		for _, m := range s.Members {
			members[m.ID] = m
		}
	}
	w := tabwriter.NewWriter(to.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tADDRESS\tSTATE\tVOTES\tTERM\tAPPLIED\tCOMMITTED\tLOG\tHEARD\t")
	for _, s := range all {
		m, note := members[s.ID], s.Failing
		if s.Draining {
			note = "drains " + note
		}
		votes := "no"
		if m.Voter {
			votes = "yes"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d-%d\t%.1fs\t%s\n", s.ID, m.Addr, s.State, votes,
			s.Term, s.Applied, s.Commit, s.FirstLog, s.LastLog, s.Heard, note)
	}
	return w.Flush()
}

type clusterAdd struct {
	contact
	ID   string `arg:"" help:"The node's id."`
	Addr string `arg:"" help:"Where it is reached, HOST:PORT."`
}

// Run takes the node in.
func (a *clusterAdd) Run(ctx context.Context, to console) error {
	return a.call(ctx, func(ctx context.Context, c consensus.Client) error {
		if err := c.Add(ctx, peer.Node{ID: a.ID, Addr: a.Addr}); err != nil {
			return err
		}
		fmt.Fprintf(to.out, "%s belongs to the cluster, and votes once it has caught up\n", a.ID)
		return nil
	})
}

type clusterRemove struct {
	contact
	ID     string `arg:"" help:"The node's id."`
	Revoke bool   `help:"Let in none of the certificates that were made for it until now: it was stolen, or may come back by itself."`
}

// Run takes the node out.
func (r *clusterRemove) Run(ctx context.Context, to console) error {
	return r.call(ctx, func(ctx context.Context, c consensus.Client) error {
		out := c.Remove
		if r.Revoke {
			out = c.Revoke
		}
		if err := out(ctx, r.ID); err != nil {
			return err
		}
		fmt.Fprintf(to.out, "%s belongs to the cluster no more\n", r.ID)
		return nil
	})
}

type clusterTransfer struct {
	contact
	ID string `arg:"" optional:"" help:"The node that is to lead; the one that is furthest by default."`
}

// Run makes another node lead.
func (t *clusterTransfer) Run(ctx context.Context, to console) error {
	return t.call(ctx, func(ctx context.Context, c consensus.Client) error {
		if err := c.Transfer(ctx, t.ID); err != nil {
			return err
		}
		if t.ID != "" {
			fmt.Fprintf(to.out, "%s leads\n", t.ID)
			return nil
		}
		fmt.Fprintln(to.out, "another node leads")
		return nil
	})
}

type clusterDrain struct {
	contact
	ID   string `arg:"" help:"The node's id."`
	Undo bool   `help:"Let it take work again."`
}

// Validate implements kong's validation hook. Whoever is asked would take no name
// for its own: a variable that is not set would drain another node.
func (d *clusterDrain) Validate() error {
	if !peer.ValidName(d.ID) {
		return fmt.Errorf("%w: %q: the id of a node", errUsage, d.ID)
	}
	return nil
}

// Run lets the node drain, or not any more.
func (d *clusterDrain) Run(ctx context.Context, to console) error {
	return d.call(ctx, func(ctx context.Context, c consensus.Client) error {
		if err := c.Drain(ctx, d.ID, !d.Undo); err != nil {
			return err
		}
		if d.Undo {
			fmt.Fprintf(to.out, "%s takes work again\n", d.ID)
			return nil
		}
		fmt.Fprintf(to.out, "%s takes nothing new; 'cigogne cluster status --json' tells how many associations it still has\n", d.ID)
		return nil
	})
}
