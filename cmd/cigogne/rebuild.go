package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/dustin/go-humanize/english"

	"github.com/esante-alsace/cigogne/cmd/cigogne/archives"
	"github.com/esante-alsace/cigogne/cmd/cigogne/progress"
	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/journal"
	"github.com/esante-alsace/cigogne/storage/pack"
)

type rebuildCommand struct {
	stores
	damage
	longWork
}

// Run makes the index anew beside the old one, and replaces it at the end.
func (r *rebuildCommand) Run(ctx context.Context, c console) error {
	log := logger(c, slog.LevelWarn)
	if err := r.mounted(); err != nil {
		return r.nothing(err)
	}
	a, err := r.openArchives(ctx, nil)
	if err != nil {
		return err
	}
	defer a.Close()
	if err := r.sources(ctx, a); err != nil {
		return err
	}
	// The journal's lock keeps a running node and a rebuild apart.
	j, err := r.openJournal(ctx, journal.Options{Logger: log, AllowDamage: r.AllowDamage})
	if err != nil {
		return err
	}
	defer j.Close()
	if err := r.prepare(); err != nil {
		return err
	}
	done, err := r.rebuild(ctx, c, a, j, log)
	if err != nil {
		return err
	}
	r.say(c, "rebuilt the index from %s with %s and %s\n", english.Plural(done.Packs, "pack", ""),
		english.Plural(done.Packed, "instance", ""), english.Plural(done.Journaled, "journal record", ""))
	if done.Deletions > 0 {
		r.say(c, "left out what %s took, or keep it for an undo\n", english.Plural(done.Deletions, "deletion", ""))
	}
	if done.Problems > 0 {
		return fmt.Errorf("%w: %s left out that could not be read or is missing", errPartly, english.Plural(done.Problems, "thing was", "things were"))
	}
	return nil
}

// sources refuses to rebuild an index from nothing: a mistyped directory
// would become an empty node.
func (r *rebuildCommand) sources(ctx context.Context, a *archives.Archives) error {
	if _, err := os.Stat(r.journalDir()); err == nil {
		return nil
	}
	for _, prefix := range []string{pack.StudiesPrefix, pack.ConflictsPrefix} {
		for _, err := range a.List(ctx, prefix) {
			return err
		}
	}
	return r.nothing(nil)
}

// nothing is the refusal of a place where there is nothing to rebuild from.
func (r *rebuildCommand) nothing(err error) error {
	if _, serr := os.Stat(r.journalDir()); serr == nil && err != nil {
		return err
	}
	return fmt.Errorf("%w: --data-dir %s holds no node's data, and no archive a pack", errUsage, r.DataDir)
}

func (r *rebuildCommand) rebuild(ctx context.Context, c console, a *archives.Archives, j *journal.Journal, log *slog.Logger) (gateway.Rebuilt, error) {
	beside := stores{DataDir: filepath.Join(r.spoolDir(), "rebuild")}
	if err := os.MkdirAll(filepath.Dir(beside.indexPath()), 0o700); err != nil {
		return gateway.Rebuilt{}, err
	}
	x, err := index.Open(ctx, index.Options{Path: beside.indexPath(), Logger: log})
	if err != nil {
		return gateway.Rebuilt{}, err
	}
	before, err := r.openIndexBeside(ctx)
	if err != nil {
		before = nil // damaged or lost: the reason for the rebuild
	} else {
		defer before.Close()
	}
	work := r.start(c)
	copies, err := countPacks(ctx, a, work)
	if err != nil {
		work.End()
		return gateway.Rebuilt{}, errors.Join(err, x.Close())
	}
	work.Step("enter packs", progress.Amount{Items: copies})
	told := gateway.Rebuilt{}
	done, err := gateway.Rebuild(ctx, gateway.RebuildOptions{
		Index: x, Archives: a.Each, Journal: j, Before: before,
		Progress: func(r gateway.Rebuilt) {
			if r.Journaled > 0 && told.Journaled == 0 {
				work.Step("enter the journal", progress.Amount{})
			}
			work.Add(int64(r.Copies-told.Copies+r.Journaled-told.Journaled), 0)
			told = r
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

// countPacks counts the packs of all archives, so that what remains can be
// told.
func countPacks(ctx context.Context, a *archives.Archives, work *progress.Work) (n int64, err error) {
	work.Step("count packs", progress.Amount{})
	for _, one := range a.Each {
		for _, prefix := range []string{pack.StudiesPrefix, pack.ConflictsPrefix} {
			for _, err := range one.List(ctx, prefix) {
				if err != nil {
					return n, err
				}
				n++
				work.Add(1, 0)
			}
		}
	}
	return n, nil
}

// replaceIndex puts the folder of the new index in the place of the old one.
// A crash in between leaves a node without an index, which says so at start.
func (s *stores) replaceIndex(with string) error {
	at := filepath.Dir(s.indexPath())
	if err := os.RemoveAll(at); err != nil {
		return err
	}
	// It speaks of places in the old one.
	if err := os.Remove(s.scrubPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
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
