package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

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
	a, err := f.openArchives(ctx)
	if err != nil {
		return err
	}
	defer a.Close()
	done, err := gateway.Check(ctx, gateway.CheckOptions{
		Index: x, Archives: a.each, Journal: j,
		Problem: func(what string) { fmt.Fprintln(c.out, what) },
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "checked %d journal records, %d packs with %d instances, %d instances that wait to be packed; %d records wait to be indexed\n",
		done.Records, done.Packs, done.Packed, done.Live, done.Waiting)
	if done.Torn > 0 {
		fmt.Fprintf(c.out, "%d journal segments end within an entry that was never acknowledged, as after a crash; the next start cuts them\n", done.Torn)
	}
	if done.Problems > 0 {
		return fmt.Errorf("%w: %d problems", errPartly, done.Problems)
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
