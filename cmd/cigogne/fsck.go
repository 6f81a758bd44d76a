package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/dustin/go-humanize/english"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage/journal"
)

type fsckCommand struct {
	stores
}

// Run checks the stores of a stopped node.
func (f *fsckCommand) Run(ctx context.Context, c console) error {
	if err := f.present(); err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	j, err := journal.Open(ctx, journal.Options{Dir: f.journalDir(), ReadOnly: true, Logger: log})
	if err != nil {
		return err
	}
	defer j.Close()
	if err := f.complete(); err != nil {
		return err
	}
	x, err := f.openIndex(ctx, log)
	if err != nil {
		return err
	}
	defer x.Close()
	a, err := f.openArchives(ctx, nil)
	if err != nil {
		return err
	}
	defer a.Close()
	done, err := gateway.Check(ctx, gateway.CheckOptions{
		Index: x, Archives: a.Each, Journal: j,
		Problem: func(what string) { fmt.Fprintln(c.out, what) },
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "checked %s and %s with %s; waiting to be indexed: %d, to be packed: %d\n", english.Plural(done.Records, "journal record", ""),
		english.Plural(done.Packs, "pack", ""), english.Plural(done.Packed, "instance", ""), done.Waiting, done.Live)
	if done.Torn > 0 {
		fmt.Fprintf(c.out, "%s within an entry that was never acknowledged, as after a crash: the next start cuts it off\n",
			english.Plural(done.Torn, "journal segment ends", "journal segments end"))
	}
	if done.Problems > 0 {
		return fmt.Errorf("%w: %s", errPartly, english.Plural(done.Problems, "problem", ""))
	}
	fmt.Fprintln(c.out, "all is well")
	return nil
}

// present refuses a directory in which no node has run: checking it would
// find nothing wrong.
func (s *stores) present() error {
	if _, err := os.Stat(s.journalDir()); err != nil {
		return fmt.Errorf("%w: --data-dir %s holds no node's data", errUsage, s.DataDir)
	}
	return nil
}

// complete refuses to check a node without its index or its archive: opening
// them would make them, and fsck changes nothing.
func (s *stores) complete() error {
	if _, err := os.Stat(s.indexPath()); err != nil {
		return fmt.Errorf("%w: there is no index (%w): run 'cigogne archive rebuild-index --data-dir %s'", errPartly, err, s.DataDir)
	}
	return s.mounted()
}

// mounted refuses archives whose folder is not there.
func (s *stores) mounted() error {
	urls, err := s.archiveURLs()
	if err != nil {
		return err
	}
	for _, u := range urls {
		if _, err := os.Stat(u.Path); u.Scheme == "dir" && err != nil {
			return fmt.Errorf("%w: there is no archive (%w)", errPartly, err)
		}
	}
	return nil
}
