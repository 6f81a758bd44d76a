package consensus

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"

	"github.com/esante-alsace/cigogne/storage"
)

// raftLogStore is raft's log on disk. After an append that failed, on a full disk
// for one, the one below takes nothing any more until it is opened again: that
// is done here, so that the node goes on when there is space.
type raftLogStore struct {
	dir string
	log *slog.Logger
	// needed is the last entry that every node which is there already has:
	// what follows is not cut off the front. Nil means that nobody needs any.
	needed func() uint64

	mu     sync.RWMutex
	wal    *wal.WAL // nil while it cannot be opened
	last   uint64   // the last entry that raft was told is stored
	broken bool     // the last append failed
	tried  time.Time
}

const (
	// reopenEvery is the least time between two tries to open the log again,
	// and reopenSpace what must be free for it: a file of it is made at once.
	reopenEvery = time.Second
	reopenSpace = 128 << 20
	// mostKept bounds how many entries are kept for those who need them: mostly
	// some gigabytes.
	mostKept = 1 << 16
)

var errNoLog = fmt.Errorf("%w: the log takes nothing now", storage.ErrUnavailable)

func openLog(dir string, log *slog.Logger, needed func() uint64) (*raftLogStore, error) {
	l := &raftLogStore{dir: dir, log: log, needed: needed}
	var err error
	if l.wal, err = wal.Open(dir, wal.WithLogger(newRaftLogger(log))); err != nil {
		return nil, fmt.Errorf("raft: log: %w", err)
	}
	if l.last, err = l.wal.LastIndex(); err != nil {
		return nil, errors.Join(fmt.Errorf("raft: log: %w", err), l.wal.Close())
	}
	return l, nil
}

// Close closes it.
func (l *raftLogStore) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wal == nil {
		return nil
	}
	return l.wal.Close()
}

// use calls do with the log, unless there is none now.
func (l *raftLogStore) use(do func(*wal.WAL) error) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.wal == nil {
		return errNoLog
	}
	return do(l.wal)
}

// FirstIndex implements raft.LogStore.
func (l *raftLogStore) FirstIndex() (i uint64, err error) {
	err = l.use(func(w *wal.WAL) error { i, err = w.FirstIndex(); return err })
	return i, err
}

// LastIndex implements raft.LogStore.
func (l *raftLogStore) LastIndex() (i uint64, err error) {
	err = l.use(func(w *wal.WAL) error { i, err = w.LastIndex(); return err })
	return i, err
}

// GetLog implements raft.LogStore. The one below still reads entries that were
// cut off the front of the file it writes, until that is opened again; raft
// would send them to a newcomer instead of a snapshot.
func (l *raftLogStore) GetLog(index uint64, to *raft.Log) error {
	return l.use(func(w *wal.WAL) error {
		first, err := w.FirstIndex()
		if err != nil {
			return err
		}
		if index < first {
			return raft.ErrLogNotFound
		}
		return w.GetLog(index, to)
	})
}

// StoreLog implements raft.LogStore.
func (l *raftLogStore) StoreLog(e *raft.Log) error { return l.StoreLogs([]*raft.Log{e}) }

// StoreLogs implements raft.LogStore.
func (l *raftLogStore) StoreLogs(logs []*raft.Log) error {
	if err := l.mend(); err != nil {
		return err
	}
	err := l.use(func(w *wal.WAL) error { return w.StoreLogs(logs) })
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken = err != nil; err == nil && len(logs) > 0 {
		l.last = logs[len(logs)-1].Index
	}
	return err
}

// DeleteRange implements raft.LogStore. Off the front no more is cut than the
// nodes that are there can spare. Raft does not mind: it asks where the log
// begins.
func (l *raftLogStore) DeleteRange(first, last uint64) error {
	if last = l.spare(last); last < first {
		return nil
	}
	if err := l.mend(); err != nil {
		return err
	}
	err := l.use(func(w *wal.WAL) error { return w.DeleteRange(first, last) })
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken = err != nil; err == nil && last >= l.last && first <= l.last {
		l.last = first - 1
	}
	return err
}

// spare is up to where the log can be cut that is to be cut up to last: what
// reaches its end is wrong, or a copy of the index stands for it, and goes.
func (l *raftLogStore) spare(last uint64) uint64 {
	l.mu.RLock()
	end := l.last
	l.mu.RUnlock()
	if l.needed == nil || last >= end {
		return last
	}
	return min(last, max(l.needed(), end-min(end, mostKept)))
}

// mend opens the log again after a failure. What a failed append left in it,
// which raft was told is not there, goes.
func (l *raftLogStore) mend() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.broken && l.wal != nil {
		return nil
	}
	if time.Since(l.tried) < reopenEvery {
		return errNoLog
	}
	l.tried = time.Now()
	// raft must be able to read meanwhile: it is closed only when it is likely
	// to open.
	var fs syscall.Statfs_t
	if err := syscall.Statfs(l.dir, &fs); err == nil && fs.Bavail*uint64(fs.Bsize) < reopenSpace {
		return fmt.Errorf("%w: no room for the log", storage.ErrFull)
	}
	if l.wal != nil {
		if err := l.wal.Close(); err != nil {
			l.log.Warn("the log did not close well after an append that failed", "error", err)
		}
	}
	l.wal = nil
	w, err := wal.Open(l.dir, wal.WithLogger(newRaftLogger(l.log)))
	if err != nil {
		return fmt.Errorf("%w: raft: log: %w", storage.ErrUnavailable, err)
	}
	last, err := w.LastIndex()
	if err == nil && last > l.last {
		err = w.DeleteRange(l.last+1, last)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%w: raft: log: %w", storage.ErrUnavailable, err), w.Close())
	}
	l.wal, l.broken = w, false
	l.log.Info("the log was opened again after an append that failed")
	return nil
}

// IsMonotonic implements raft.MonotonicLogStore.
func (l *raftLogStore) IsMonotonic() bool { return true }

// Set implements raft.StableStore.
func (l *raftLogStore) Set(key, value []byte) error {
	return l.use(func(w *wal.WAL) error { return w.Set(key, value) })
}

// Get implements raft.StableStore.
func (l *raftLogStore) Get(key []byte) (b []byte, err error) {
	err = l.use(func(w *wal.WAL) error { b, err = w.Get(key); return err })
	return b, err
}

// SetUint64 implements raft.StableStore.
func (l *raftLogStore) SetUint64(key []byte, value uint64) error {
	return l.use(func(w *wal.WAL) error { return w.SetUint64(key, value) })
}

// GetUint64 implements raft.StableStore.
func (l *raftLogStore) GetUint64(key []byte) (v uint64, err error) {
	err = l.use(func(w *wal.WAL) error { v, err = w.GetUint64(key); return err })
	return v, err
}
