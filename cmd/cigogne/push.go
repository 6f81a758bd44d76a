package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/esante-alsace/cigogne/cmd/cigogne/client"
	"github.com/esante-alsace/cigogne/cmd/cigogne/progress"
	"github.com/esante-alsace/cigogne/cmd/cigogne/pusher"
)

// remote says which gateway a command speaks to, and how.
type remote struct {
	Gateway string `default:"http://127.0.0.1:8080" placeholder:"URL" help:"Gateway that is spoken to (${default})."`
}

// transfers is how instances are moved.
type transfers struct {
	Connections int           `default:"8" help:"Connections that are used at a time: over a long line one carries little (${default})."`
	Stall       time.Duration `default:"1m" help:"How long a request may stand still (${default})."`
	Patience    time.Duration `default:"5m" help:"How long it is tried again while nothing goes on (${default})."`
}

func (t *transfers) check() error {
	const mostConnections = 64
	if t.Connections < 1 || t.Connections > mostConnections {
		return fmt.Errorf("%w: --connections: 1 to %d", errUsage, mostConnections)
	}
	if t.Stall <= 0 || t.Patience < 0 {
		return fmt.Errorf("%w: --stall: more than 0; --patience: 0 or more", errUsage)
	}
	return nil
}

func (r *remote) open(connections int, stall time.Duration) (*client.Client, error) {
	c, err := client.New(client.Options{Gateway: r.Gateway, Connections: connections, Stall: stall})
	if err != nil {
		return nil, fmt.Errorf("%w: --gateway: %w", errUsage, err)
	}
	return c, nil
}

type pushCommand struct {
	remote
	transfers
	longWork
	RequestSize size       `default:"64MiB" help:"How much is sent before the gateway is asked to answer (${default})."`
	Path        []filePath `arg:"" help:"DICOM files, folders that hold some however deep, DICOMDIR files."`
}

// Help tells what flags cannot.
func (*pushCommand) Help() string {
	return `Sends what the gateway does not have yet, and checks by digest that what became durable is what was read. It can be ended at any moment and called again. A file that is refused is named and does not stop the others; the exit code is then 3. Of what lies in folders, files that are no DICOM, DICOMDIRs and links are ignored.`
}

// Validate implements kong's validation hook.
func (p *pushCommand) Validate() error { return p.check() }

// Run pushes.
func (p *pushCommand) Run(ctx context.Context, c console) error {
	return c.heard(func(c console) error { return p.push(ctx, c) })
}

func (p *pushCommand) push(ctx context.Context, c console) error {
	gateway, err := p.open(p.Connections, p.Stall)
	if err != nil {
		return err
	}
	defer gateway.Close()
	paths := make([]string, len(p.Path))
	for i, path := range p.Path {
		paths[i] = string(path)
	}
	work := p.start(c)
	out, err := pusher.Run(ctx, pusher.Options{
		Gateway: gateway, Paths: paths, Connections: p.Connections, RequestBytes: int64(p.RequestSize),
		Patience: p.Patience, Work: work,
	})
	work.Tell(progress.Event{Name: "result", Fields: []slog.Attr{
		slog.Int64("stored", out.Stored), slog.Int64("present", out.Present), slog.Int64("aside", out.Aside),
		slog.Int64("refused", out.Refused), slog.Int64("ignored", out.Ignored), slog.Int64("left", out.Left),
	}})
	work.End()
	p.say(c, "%d stored, %d already there, %d kept aside, %d refused, %d ignored, %d not sent\n",
		out.Stored, out.Present, out.Aside, out.Refused, out.Ignored, out.Left)
	if err != nil {
		return fmt.Errorf("push to %s: %w", gateway, err)
	}
	if out.Refused > 0 {
		return fmt.Errorf("%w: %s refused", errPartly, english.Plural(int(out.Refused), "file was", "files were"))
	}
	return nil
}
