package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/dustin/go-humanize/english"

	"github.com/esante-alsace/cigogne/cmd/cigogne/client"
	"github.com/esante-alsace/cigogne/cmd/cigogne/progress"
	"github.com/esante-alsace/cigogne/cmd/cigogne/puller"
	"github.com/esante-alsace/cigogne/storage"
)

type pullCommand struct {
	remote
	transfers
	longWork
	Study  []string `required:"" placeholder:"UID" help:"StudyInstanceUID of what is fetched; repeatable."`
	Output filePath `short:"o" required:"" placeholder:"DIR|FILE.zip" help:"Folder, or for one study a file whose name ends with .zip."`
}

// Help tells what flags cannot.
func (*pullCommand) Help() string {
	return `Fetches studies in parallel ranges and verifies each instance by its digest. In a folder an instance is StudyInstanceUID/SeriesInstanceUID/SOPInstanceUID.dcm. What has its final name is whole and on the disk. It can be ended at any moment; called again with the same arguments it goes on. An instance that the gateway cannot read is named and does not stop the others; the exit code is then 3, and a ZIP file stays unfinished.`
}

func (p *pullCommand) zip() bool { return strings.EqualFold(filepath.Ext(string(p.Output)), ".zip") }

// Validate implements kong's validation hook.
func (p *pullCommand) Validate() error {
	if len(p.Study) == 0 {
		return fmt.Errorf("%w: --study: none is named", errUsage)
	}
	for _, study := range p.Study {
		if !storage.ValidUID(study) {
			return fmt.Errorf("%w: --study: %q is not a UID", errUsage, study)
		}
	}
	if p.zip() && len(p.Study) != 1 {
		return fmt.Errorf("%w: a ZIP file holds one study: name a folder for several", errUsage)
	}
	return p.check()
}

// Run pulls study after study.
func (p *pullCommand) Run(ctx context.Context, c console) error {
	return c.heard(func(c console) error { return p.pullAll(ctx, c) })
}

func (p *pullCommand) pullAll(ctx context.Context, c console) error {
	gateway, err := p.open(p.Connections, p.Stall)
	if err != nil {
		return err
	}
	defer gateway.Close()
	leftOut := 0
	for _, study := range p.Study {
		switch err := p.pull(ctx, c, gateway, study); {
		case errors.Is(err, puller.ErrLeftOut):
			leftOut++
		case err != nil:
			return fmt.Errorf("pull of study %s from %s: %w", study, gateway, err)
		}
	}
	if leftOut > 0 {
		return fmt.Errorf("%w: instances of %s were left out, pulled from %s", errPartly, english.Plural(leftOut, "study", "studies"), gateway)
	}
	return nil
}

func (p *pullCommand) pull(ctx context.Context, c console, gateway *client.Client, study string) error {
	o := puller.Options{
		Gateway: gateway, StudyInstanceUID: study, Connections: p.Connections,
		Patience: &client.Patience{Limit: p.Patience},
	}
	if p.zip() {
		o.ZIP = string(p.Output)
		if _, err := os.Lstat(o.ZIP); err == nil {
			return fmt.Errorf("%w: %s is there already", errUsage, o.ZIP)
		}
	} else {
		o.Folder = string(p.Output)
	}
	work := p.start(c)
	o.Work = work
	out, err := puller.Run(ctx, o)
	work.Tell(progress.Event{Name: "result", Fields: []slog.Attr{
		slog.String("study", study), slog.Int64("pulled", out.Pulled), slog.Int64("present", out.Present), slog.Int64("left", out.Left),
	}})
	work.End() // before the result: a bar stands on the line
	p.say(c, "study %s: %s fetched, %d already there, %d not fetched\n",
		study, english.Plural(int(out.Pulled), "instance", ""), out.Present, out.Left)
	return err
}
