// Command cigogne is the medical image sharing gateway: `cigogne serve` runs
// a node; the other commands look after the data of one that is stopped, or are
// clients of one that runs.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/esante-alsace/cigogne/cmd/cigogne/progress"
	"github.com/esante-alsace/cigogne/cmd/cigogne/settings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

const description = `A medical image sharing gateway: DICOM in, durable, searchable, out.

Each flag can also be an environment variable (--data-dir is CIGOGNE_DATA_DIR) or a key of the file that --config names; flags win over the environment, and that over the file.

Exit codes: 0 all was done; 1 it failed; 2 a flag, a variable or the configuration file is wrong; 3 it came to its end, and something was refused, is missing or damaged, which was named; 4 who was asked does not answer now, or is in use: try again later; 130 interrupted.`

type cli struct {
	Config string `help:"YAML file of settings; its keys are the flags' names." placeholder:"FILE" type:"path"`

	Serve   serveCommand   `cmd:"" help:"Run a node."`
	Push    pushCommand    `cmd:"" help:"Send DICOM files to a gateway."`
	Pull    pullCommand    `cmd:"" help:"Fetch studies from a gateway."`
	Find    findCommand    `cmd:"" help:"Search a gateway."`
	Studies studiesCommand `cmd:"" help:"Ask a gateway about studies."`
	Version versionCommand `cmd:"" help:"Print the version."`

	Delete       deleteCommand       `cmd:"" help:"Delete a study or a series; for some time it can be put back."`
	Deletions    deletionsCommand    `cmd:"" help:"See and undo deletions."`
	Holds        holdsCommand        `cmd:"" help:"Keep studies from being deleted."`
	Publications publicationsCommand `cmd:"" help:"See what becomes of publications in the shared record, and try again."`
	Retention    retentionCommand    `cmd:"" help:"See and say for how many years studies are kept."`

	Cluster clusterCommand `cmd:"" help:"Look at a cluster and change it."`
	Demo    demoCommand    `cmd:"" name:"demo-cluster" help:"Run a cluster of three nodes on this machine."`
	Certs   certsCommand   `cmd:"" help:"Make a cluster CA, and certificates of its nodes and operators."`
	Fsck    fsckCommand    `cmd:"" help:"Check journal, packs and index against each other while the node is stopped."`
	Archive archiveCommand `cmd:"" help:"Look after the packs in the archives."`

	Completion completionCommand `cmd:"" help:"Print a script that completes commands and flags in a shell."`
}

func run(ctx context.Context, args, environ []string, out, errs io.Writer) int {
	helped := false // --help was answered
	parser, err := newParser(args, environ, out, errs, func() { helped = true })
	if err != nil {
		return usage(errs, err)
	}
	if helped {
		return exitOK
	}
	command, err := parser.Parse(args)
	if helped {
		return exitOK
	}
	if err != nil {
		return usage(errs, err)
	}
	command.BindTo(ctx, (*context.Context)(nil))
	err = command.Run(console{out, errs})
	code := exitCode(ctx, err)
	switch code {
	case exitOK:
	case exitUsage:
		return usage(errs, err)
	case exitInterrupted:
		fmt.Fprintln(errs, "cigogne: interrupted")
	default:
		fmt.Fprintf(errs, "cigogne: %s\n", oneLine(advised(err)))
	}
	return code
}

func usage(w io.Writer, err error) int {
	fmt.Fprintf(w, "cigogne: %s\n", oneLine(err))
	return exitUsage
}

// oneLine is the error as one line: what is wrong, without its kind. Others may
// have written some of it.
func oneLine(err error) string {
	text := strings.Replace(err.Error(), errUsage.Error()+": ", "", 1) // behind the command's name where that refused it
	return progress.Printable(strings.Join(strings.Fields(text), " "))
}

// newParser returns the command line's parser, with the environment and the
// configuration file as the sources of what the command line leaves out.
// helped is called when it has shown help.
func newParser(args, environ []string, out, errs io.Writer, helped func()) (*kong.Kong, error) {
	from, err := settings.Load(args, environ)
	if err != nil {
		return nil, err
	}
	var c cli
	return kong.New(&c,
		kong.Name("cigogne"),
		kong.Description(description),
		kong.UsageOnError(),
		kong.Writers(out, errs),
		kong.Resolvers(from),
		kong.Exit(func(int) { helped() }),
	)
}
