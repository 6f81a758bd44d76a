package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/esante-alsace/cigogne/cmd/cigogne/certs"
	"github.com/esante-alsace/cigogne/consensus"
	"github.com/esante-alsace/cigogne/consensus/copies"
	"github.com/esante-alsace/cigogne/consensus/peer"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// clustering says of which cluster a node is.
type clustering struct {
	NodeID        string        `placeholder:"ID" help:"The node's id in its cluster, for ever."`
	Peer          string        `placeholder:"ADDR" help:"Where the other nodes of a cluster reach this one; a node without it stands alone."`
	PeerAdvertise string        `placeholder:"ADDR" help:"The address that the others are told, if it is not --peer."`
	PeerCerts     string        `default:"./cigogne-certs" placeholder:"DIR" type:"path" help:"Folder of the node's certificate, or of those that 'cigogne certs' made; on loopback they are made when there are none (${default})."`
	Bootstrap     bool          `help:"Be the first node of a new cluster; of no account once there is one."`
	Join          []string      `placeholder:"ADDR" help:"Ask the node at ADDR to be let into its cluster; repeatable, and of no account afterwards."`
	MaxStaleness  time.Duration `default:"5s" help:"How far behind the cluster an answer may be when the leader cannot be asked (${default})."`
	WriteCopies   int           `default:"0" placeholder:"N" help:"On how many nodes an instance must lie before its sender is told; 0 is 2 in a cluster of three nodes or more, else 1."`
	TakeoverAfter time.Duration `default:"5s" help:"For how long nothing may be heard of a node before the others take over what lies in its journal (${default})."`
	Election      time.Duration `default:"500ms" help:"How long nothing may be heard of the leader before another is elected (${default})."`
}

// onLoopback tells whether no other machine reaches the node.
func (c *clustering) onLoopback() bool {
	host, _, err := net.SplitHostPort(c.Peer)
	return err == nil && loopback(host)
}

func (c *clustering) clustered() bool { return c.Peer != "" }

// advertised is where the others reach the node.
func (c *clustering) advertised() string {
	if c.PeerAdvertise != "" {
		return c.PeerAdvertise
	}
	return c.Peer
}

// check refuses what flags alone cannot refuse.
func (c *clustering) check() error {
	if !c.clustered() {
		if c.NodeID != "" || c.Bootstrap || len(c.Join) > 0 || c.PeerAdvertise != "" {
			return fmt.Errorf("%w: a node of a cluster needs --peer ADDR", errUsage)
		}
		return nil
	}
	if !peer.ValidName(c.NodeID) {
		return fmt.Errorf("%w: --node-id %q: lower-case letters, digits, '-', '_' and '.'", errUsage, c.NodeID)
	}
	if c.Bootstrap && len(c.Join) > 0 {
		return fmt.Errorf("%w: either --bootstrap or --join", errUsage)
	}
	if c.MaxStaleness <= 0 || c.Election < 50*time.Millisecond || c.Election > time.Minute {
		return fmt.Errorf("%w: --max-staleness: more than 0; --election: 50ms to 1m", errUsage)
	}
	if c.WriteCopies < 0 || c.TakeoverAfter < time.Second {
		return fmt.Errorf("%w: --write-copies: 0 or more; --takeover-after: 1s or more", errUsage)
	}
	return c.checkAddresses()
}

func (c *clustering) checkAddresses() error {
	for _, addr := range append([]string{c.Peer, c.advertised()}, c.Join...) {
		if host, port, err := net.SplitHostPort(addr); err != nil || port == "0" || host == "" && addr != c.Peer {
			return fmt.Errorf("%w: peer address %q: write HOST:PORT", errUsage, addr)
		}
	}
	if host, _, _ := net.SplitHostPort(c.advertised()); host == "" || net.ParseIP(host).IsUnspecified() {
		return fmt.Errorf("%w: --peer %s is no address that others can reach: add --peer-advertise", errUsage, c.Peer)
	}
	return nil
}

func (s *stores) raftDir() string { return filepath.Join(s.DataDir, "raft") }

// cluster is the node's part in one.
type cluster struct {
	*consensus.Node
	port   *peer.Port
	dialer *peer.Dialer
	calls  *http.ServeMux // what is answered on the port
	// expiry is of the node's certificate, authority of the CA's.
	expiry, authority time.Time

	stop context.CancelFunc
	work sync.WaitGroup
}

// openCluster takes part in the cluster; the index is open, and is the
// cluster's when it returns. The index of a node whose own is lost has to come
// from another first.
func (n *node) openCluster(ctx context.Context) error {
	c := n.config
	credentials, err := certs.OfNode(c.PeerCerts, c.NodeID, c.onLoopback())
	if err != nil {
		return fmt.Errorf("--peer-certs: %w", err)
	}
	if credentials.Identity.Name != c.NodeID {
		return fmt.Errorf("%w: --peer-certs %s is node %s's certificate", storage.ErrConflict, c.PeerCerts, credentials.Identity.Name)
	}
	n.cluster = &cluster{dialer: peer.NewDialer(credentials, nil), calls: http.NewServeMux(), expiry: credentials.Expiry(), authority: credentials.AuthorityExpiry(), stop: func() {}}
	if n.cluster.port, err = peer.Listen(ctx, peer.PortOptions{
		Addr: c.Peer, Credentials: credentials, Refuses: consensus.NewRefusals(n.index).Check, Logger: n.log,
	}); err != nil {
		return fmt.Errorf("--peer: %w", err)
	}
	n.cluster.Node, err = consensus.Open(ctx, consensus.Options{
		ID: c.NodeID, Advertise: c.advertised(), Dir: c.raftDir(), Index: n.index,
		Port: n.cluster.port, Dialer: n.cluster.dialer, Bootstrap: c.Bootstrap, Join: c.Join,
		MaxStaleness: c.MaxStaleness, Timing: consensus.Timing{Election: c.Election},
		Detail: n.detail, Applied: n.metrics.Applied, Logger: n.log,
	})
	if errors.Is(err, storage.ErrInvalid) {
		return fmt.Errorf("%w: --bootstrap or --join ADDR", err)
	}
	if err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	n.cluster.calls.Handle(consensus.Path, n.cluster.Handler())
	n.serveCopies()
	n.cluster.port.HandleHTTP(n.followPeers(n.cluster.calls))
	n.cluster.run(ctx)
	return n.cluster.Sound(ctx)
}

// run serves the port until close.
func (c *cluster) run(ctx context.Context) {
	ctx, c.stop = context.WithCancel(context.WithoutCancel(ctx))
	c.work.Go(func() { _ = c.port.Serve(ctx) }) // it ends with ctx
	c.work.Go(func() { _ = c.Run(ctx) })
}

// close leaves the cluster for now; what was not opened is skipped.
func (c *cluster) close() error {
	c.stop()
	c.work.Wait()
	if c.port != nil {
		c.port.Close() // closed already when it was served
	}
	c.dialer.Close()
	if c.Node != nil {
		return c.Close()
	}
	return nil
}

// resign hands the lead over when ctx ends: at the latest when the node stops.
func (n *node) resign(ctx context.Context) error {
	<-ctx.Done()
	if n.cluster == nil {
		return nil
	}
	if err := n.cluster.Resign(); err != nil { //nolint:contextcheck // ctx has ended, and handing over is bounded by itself
		n.log.Info("no other node took the lead over", "error", err)
	}
	return nil
}

// detail is what a node's status says of its other parts.
func (n *node) detail() any {
	d := struct {
		Associations int                 `json:"associations"`
		Copies       copies.KeeperStatus `json:"copies"`
		Holds        []string            `json:"holds"` // journals of which a copy lies here
	}{Copies: n.copying.keeper.Status(), Holds: n.copying.holder.Journals()}
	if scp := n.scp.Load(); scp != nil {
		d.Associations = scp.Established()
	}
	return d
}

// draining tells whether the node is to take nothing new.
func (n *node) draining() bool { return n.cluster != nil && n.cluster.Draining() }

// clusterReady tells why the node should get no work, or nil.
func (n *node) clusterReady(ctx context.Context) error {
	if n.cluster.Draining() {
		return fmt.Errorf("%w: the node drains", storage.ErrUnavailable)
	}
	_, err := n.cluster.Read(ctx, consensus.Fresh, 0)
	return err
}

// openClusterIndex opens the index of a node of a cluster. One that is damaged
// goes when another can be had; one of a node alone is not mixed into a
// cluster that exists.
func (n *node) openClusterIndex(ctx context.Context) (*index.Index, error) {
	s := &n.config.stores
	heals, err := consensus.Heals(s.raftDir())
	if err != nil {
		return nil, err
	}
	joined, err := consensus.Joined(s.raftDir())
	if err != nil {
		return nil, err
	}
	x, err := s.openIndex(ctx, n.log)
	if errors.Is(err, storage.ErrCorrupt) && heals {
		n.log.Error("the index is damaged: it is thrown away and fetched from another node", "error", err)
		return n.anew(ctx)
	}
	if err != nil || joined || n.config.Bootstrap {
		return x, err
	}
	of, _ := x.Log()
	counts, err := x.Counts(ctx)
	if err != nil {
		return nil, errors.Join(err, x.Close())
	}
	switch {
	case of != "": // of a membership that is over: the cluster gives it a new one
		return n.anew(ctx, x)
	case counts != index.Stats{}:
		return nil, errors.Join(fmt.Errorf("%w: %s holds studies of a node that stood alone: a cluster begins with them (--bootstrap), or they are pushed to it", storage.ErrConflict, s.DataDir), x.Close())
	}
	return x, nil
}

// anew opens an empty index where another was.
func (n *node) anew(ctx context.Context, was ...*index.Index) (*index.Index, error) {
	for _, x := range was {
		if err := x.Close(); err != nil {
			return nil, err
		}
	}
	if err := index.Discard(n.config.indexPath()); err != nil {
		return nil, err
	}
	return n.config.openIndex(ctx, n.log)
}

// onDuty runs a job on one node of the cluster at a time: the leader.
func (n *node) onDuty(ctx context.Context, job func(context.Context) error) error {
	if n.cluster == nil {
		return job(ctx)
	}
	return n.cluster.WhileLeading(ctx, job)
}
