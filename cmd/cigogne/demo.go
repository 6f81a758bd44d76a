package main

import (
	"context"
	"fmt"
	"os"

	"github.com/esante-alsace/cigogne/cmd/cigogne/demo"
)

// demoCommand runs a cluster on this machine, a process for each node, to look
// at and to break.
type demoCommand struct {
	Dir     string   `default:"./cigogne-demo" placeholder:"DIR" type:"path" help:"Directory of all nodes' data, certificates and logs (${default})."`
	Nodes   int      `default:"3" help:"How many nodes, 1 to 9 (${default})."`
	Archive []string `placeholder:"URL" sep:"none" help:"Archive that the nodes share; repeatable (DIR/archive)."`
	HTTP    int      `name:"http-port" default:"8081" help:"First node's HTTP port; the others follow (${default})."`
	DIMSE   int      `name:"dimse-port" default:"11121" help:"First node's DIMSE port; the others follow (${default})."`
	PeerAt  int      `name:"peer-port" default:"7001" help:"First node's peer port; the others follow (${default})."`
	With    []string `name:"with" placeholder:"FLAG" sep:"none" help:"Flag that each 'cigogne serve' is given, such as --with=--settle=5s; repeatable."`
}

// Validate implements kong's validation hook.
func (d *demoCommand) Validate() error {
	const most = 9
	if d.Nodes < 1 || d.Nodes > most {
		return fmt.Errorf("%w: --nodes: 1 to %d", errUsage, most)
	}
	for _, p := range []int{d.HTTP, d.DIMSE, d.PeerAt} {
		if p < 1 || p > 65535-most {
			return fmt.Errorf("%w: port %d", errUsage, p)
		}
	}
	return nil
}

// Help is shown below the command's flags.
func (*demoCommand) Help() string {
	return `Starts the nodes n1, n2 and so on, and takes commands, a line each: status; stop, kill, pause, resume or start and a node's name; quit. It goes on without any when its input ends. Beginning again in the same directory goes on with what is there.`
}

// Run runs the cluster until ctx ends or it is told to quit.
func (d *demoCommand) Run(ctx context.Context, to console) error {
	if err := os.MkdirAll(d.Dir, 0o700); err != nil {
		return fmt.Errorf("--dir: %w", err)
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	return demo.Run(ctx, demo.Options{
		Program: program, Dir: d.Dir, Nodes: d.Nodes, Archives: d.Archive, HTTP: d.HTTP, DIMSE: d.DIMSE, Peer: d.PeerAt, With: d.With,
		In: os.Stdin, Out: to.out,
		Status: func(ctx context.Context, peer string) error {
			s := clusterStatus{contact: contact{Peer: peer, PeerCerts: demo.Certs(d.Dir)}}
			return s.Run(ctx, to)
		},
	})
}
