package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/esante-alsace/cigogne/cmd/cigogne/progress"
	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage/index"
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
// find nothing wrong, and rebuilding it would find nothing.
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
		return fmt.Errorf("%w: there is no index (%w): run 'cigogne rebuild --data-dir %s'", errPartly, err, s.DataDir)
	}
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

type rebuildCommand struct {
	stores
	damage
	longWork
}

// Run makes the index anew beside the old one, and replaces it at the end.
func (r *rebuildCommand) Run(ctx context.Context, c console) error {
	if err := r.present(); err != nil {
		return err
	}
	log := logger(c, slog.LevelWarn)
	// The journal's lock keeps a running node and a rebuild apart.
	j, err := r.openJournal(ctx, journal.Options{Logger: log, AllowDamage: r.AllowDamage})
	if err != nil {
		return err
	}
	defer j.Close()
	if err := r.prepare(); err != nil {
		return err
	}
	done, err := r.rebuild(ctx, c, j, log)
	if err != nil {
		return err
	}
	r.say(c, "rebuilt the index from %d packs with %d instances and %d journal records\n", done.Packs, done.Packed, done.Journaled)
	if done.Problems > 0 {
		return fmt.Errorf("%w: %d things could not be read and were left out", errPartly, done.Problems)
	}
	return nil
}

func (r *rebuildCommand) rebuild(ctx context.Context, c console, j *journal.Journal, log *slog.Logger) (gateway.Rebuilt, error) {
	a, err := r.openArchives(ctx)
	if err != nil {
		return gateway.Rebuilt{}, err
	}
	defer a.Close()
	beside := stores{DataDir: filepath.Join(r.spoolDir(), "rebuild")}
	if err := os.MkdirAll(filepath.Dir(beside.indexPath()), 0o700); err != nil {
		return gateway.Rebuilt{}, err
	}
	x, err := index.Open(ctx, index.Options{Path: beside.indexPath(), Logger: log})
	if err != nil {
		return gateway.Rebuilt{}, err
	}
	work := r.start(c)
	work.Step("rebuild", progress.Amount{})
	read := 0
	done, err := gateway.Rebuild(ctx, gateway.RebuildOptions{
		Index: x, Archives: a.each, Journal: j,
		Progress: func(r gateway.Rebuilt) {
			work.Add(int64(r.Packed+r.Journaled-read), 0)
			read = r.Packed + r.Journaled
		},
		Problem: func(what string) {
			work.Tell(progress.Event{Name: "problem", Text: what, Fields: []slog.Attr{slog.String("text", what)}})
		},
	})
	work.End()
	if cerr := x.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return done, err
	}
	return done, r.replaceIndex(filepath.Dir(beside.indexPath()))
}

// replaceIndex puts the folder of the new index in the place of the old one.
// A crash in between leaves a node without an index, which says so at start.
func (s *stores) replaceIndex(with string) error {
	at := filepath.Dir(s.indexPath())
	if err := os.RemoveAll(at); err != nil {
		return err
	}
	if err := os.Rename(with, at); err != nil {
		return err
	}
	return syncDir(s.DataDir)
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
