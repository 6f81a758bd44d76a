// Command bare runs the bare receiver of package bare.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/esante-alsace/cigogne/benchmarks/bare"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bare:", err)
		os.Exit(1) //nolint:gocritic // nothing is left to stop
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("bare", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:0", "address")
	dir := flags.String("dir", ".", "directory for data sets")
	fsync := flags.Bool("fsync", false, "fsync each data set before it is answered")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", *listen)
	if err != nil {
		return err
	}
	return (&bare.Receiver{Dir: *dir, Sync: *fsync}).Serve(ctx, l)
}
