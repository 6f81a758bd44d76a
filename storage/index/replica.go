package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/esante-alsace/cigogne/storage"
)

// raftLog is how far the index has a cluster's log.
type raftLog struct {
	cluster string
	applied uint64
}

func readLog(ctx context.Context, c *sql.Conn) (l raftLog, err error) {
	err = c.QueryRowContext(ctx, `SELECT cluster, applied FROM raft`).Scan(&l.cluster, &l.applied)
	if errors.Is(err, sql.ErrNoRows) {
		return raftLog{}, nil
	}
	return l, failed(err)
}

// Log tells of which cluster's log the index is, and the entry up to which it
// is applied; "" and 0 for the index of a node that stands alone.
func (x *Index) Log() (cluster string, applied uint64) {
	x.apply.Lock()
	defer x.apply.Unlock()
	return x.log.cluster, x.log.applied
}

// Follow makes what the index holds now the state before the first entry of a
// cluster's log.
func (x *Index) Follow(ctx context.Context, cluster string) error {
	x.apply.Lock()
	defer x.apply.Unlock()
	if x.closed || x.conn == nil {
		return errClosed
	}
	_, err := x.conn.ExecContext(context.WithoutCancel(ctx),
		`INSERT INTO raft VALUES (1, ?1, 0) ON CONFLICT DO UPDATE SET cluster = ?1, applied = 0`, cluster)
	if err != nil {
		return fmt.Errorf("follow a log: %w", failed(err))
	}
	x.log = raftLog{cluster: cluster}
	return x.syncHeld(ctx)
}

// ApplyAt applies the batch that lies at a place of the log, and moves the
// index there in the same transaction. Places only grow; a batch at or below
// the last one was applied before: it is skipped. A batch that never can be
// applied is storage.ErrInvalid and moves the index past it.
func (x *Index) ApplyAt(ctx context.Context, at uint64, b Batch) (Applied, error) {
	if at == 0 {
		return Applied{}, fmt.Errorf("%w: the log has no entry 0", storage.ErrInvalid)
	}
	a, err := x.applyAt(ctx, at, b)
	if errors.Is(err, storage.ErrInvalid) {
		if _, perr := x.applyAt(ctx, at, Batch{}); perr != nil {
			return a, perr
		}
	}
	return a, err
}

// passed moves the index to a place of the log, within the transaction.
func (x *Index) passed(ctx context.Context, at uint64) error {
	r, err := x.stmts.passLog.ExecContext(ctx, int64(at))
	if err != nil {
		return err
	}
	if n, err := r.RowsAffected(); err != nil || n != 1 {
		return fmt.Errorf("%w: the index follows no log", storage.ErrConflict)
	}
	return nil
}

// CopyTo writes what the index holds at one moment to a new file, while
// batches are applied and queries answered, and syncs it. It returns the place
// in the log up to which the copy has it. A file that is there already is
// storage.ErrConflict.
func (x *Index) CopyTo(ctx context.Context, path string) (applied uint64, err error) {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("%w: copy of the index: %s is there already", storage.ErrConflict, path)
	}
	// A connection of its own: those of queries may not write, and the one
	// that applies is to go on.
	db, err := openPool(x.o.Path, 1)
	if err != nil {
		return 0, err
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, `VACUUM INTO ?`, path); err != nil {
		_ = os.Remove(path) // what was written of it
		return 0, fmt.Errorf("copy the index: %w", failed(err))
	}
	if err := errors.Join(syncFile(path), syncFile(filepath.Dir(path))); err != nil {
		return 0, fmt.Errorf("copy the index: %w", failed(err))
	}
	_, applied, err = Peek(ctx, path)
	return applied, err
}

// Peek reads of an index that nobody has open which cluster's log it follows,
// and up to which entry. What is no sound index is storage.ErrCorrupt, one of
// a newer version storage.ErrUnsupported.
func Peek(ctx context.Context, path string) (cluster string, applied uint64, err error) {
	if _, err := os.Stat(path); err != nil {
		return "", 0, fmt.Errorf("%w: index: %w", storage.ErrNotFound, err)
	}
	x := &Index{o: Options{Path: path}}
	if x.write, err = openPool(path, 1); err != nil {
		return "", 0, err
	}
	defer x.write.Close()
	if x.conn, err = x.write.Conn(ctx); err != nil {
		return "", 0, failed(err)
	}
	defer x.conn.Close()
	if err := x.prepareSchema(ctx); err != nil {
		return "", 0, fmt.Errorf("index %s: %w", path, err)
	}
	l, err := readLog(ctx, x.conn)
	return l.cluster, l.applied, err
}

// Replace makes the index at path, which is on the same file system and in
// nobody's use, this one: its file is moved here. Batches wait meanwhile, and
// queries are storage.ErrUnavailable for the moment that it takes. After a
// failure the index may be empty or closed for all but Replace; a crash leaves
// the old one, the new one or none.
func (x *Index) Replace(ctx context.Context, path string) error {
	if _, _, err := Peek(ctx, path); err != nil {
		return err
	}
	x.apply.Lock()
	defer x.apply.Unlock()
	if x.closed {
		return errClosed
	}
	ctx = context.WithoutCancel(ctx)
	if err := x.closeFile(); err != nil {
		x.o.Logger.Warn("the index that is replaced did not close well", "error", err)
	}
	x.versions.all.Add(1) // while nobody can read
	if err := discard(x.o.Path); err != nil {
		return fmt.Errorf("replace the index: %w", failed(err))
	}
	if err := os.Rename(path, x.o.Path); err != nil {
		return fmt.Errorf("replace the index: %w", failed(err))
	}
	if err := syncFile(filepath.Dir(x.o.Path)); err != nil {
		return fmt.Errorf("replace the index: %w", failed(err))
	}
	if err := x.open(ctx); err != nil {
		return fmt.Errorf("replace the index: %w", err)
	}
	x.wakeReaders()
	return nil
}

// Discard removes an index that nobody has open. None is no failure.
func Discard(path string) error {
	if err := discard(path); err != nil {
		return fmt.Errorf("remove the index: %w", failed(err))
	}
	return nil
}

// discard removes the database first: a -wal without one is taken for empty,
// a database without its -wal for whole.
func discard(path string) error {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := syncFile(filepath.Dir(path)); err != nil {
			return err
		}
	}
	return nil
}
