package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// openJournal takes the data directory: one process has its journal open.
func (s *stores) openJournal(ctx context.Context, o journal.Options) (*journal.Journal, error) {
	o.Dir = s.journalDir()
	j, err := journal.Open(ctx, o)
	if errors.Is(err, storage.ErrCorrupt) {
		return nil, fmt.Errorf("%w: 'cigogne fsck --data-dir %s' tells what is damaged; restore it from a copy, or add --allow-damage to go on with what is left", err, s.DataDir)
	}
	if err != nil {
		return nil, err
	}
	if err := gateway.Readable(ctx, j); err != nil {
		return nil, errors.Join(err, j.Close())
	}
	return j, nil
}

// prepare makes the data directory's folders and empties the spool, which may
// be another process's as long as the journal is not open.
func (s *stores) prepare() error {
	if err := os.MkdirAll(s.DataDir, 0o700); err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	if err := os.RemoveAll(s.spoolDir()); err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	for _, d := range []string{s.spoolDir(), filepath.Dir(s.indexPath())} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return fmt.Errorf("--data-dir: %w", err)
		}
	}
	return nil
}

func (s *stores) openIndex(ctx context.Context, log *slog.Logger) (*index.Index, error) {
	x, err := index.Open(ctx, index.Options{Path: s.indexPath(), Logger: log})
	if errors.Is(err, storage.ErrCorrupt) {
		return nil, fmt.Errorf("index: %w: run 'cigogne archive rebuild-index --data-dir %s'", err, s.DataDir)
	}
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	return x, nil
}
