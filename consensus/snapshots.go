package consensus

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/esante-alsace/cigogne/storage"
)

// snapshots is raft's store of them. There is one, and it is the index: all
// that is kept beside it is up to which entry of the log it stands for. To
// read it is to copy the index as it is at that moment, which may be later.
type snapshots struct {
	ctx     context.Context // ends when the node closes
	dir     string
	machine *machine

	mu        sync.Mutex
	meta      *snapshotMeta
	installed string // the id of one that was just put in place
}

const (
	snapshotFile    = "snapshot.json"
	snapshotVersion = 1
)

// snapshotMeta is the snapshot as it stands in snapshot.json.
type snapshotMeta struct {
	Format             int    `json:"format"`
	ID                 string `json:"id"`
	Index              uint64 `json:"index"`
	Term               uint64 `json:"term"`
	Configuration      []byte `json:"configuration"`
	ConfigurationIndex uint64 `json:"configurationIndex"`
	// Content is the last entry at or below Index that changed the index: one
	// that has less is not the one of the snapshot.
	Content uint64 `json:"content"`
}

func openSnapshots(ctx context.Context, dir string, m *machine) (*snapshots, error) {
	s := &snapshots{ctx: ctx, dir: dir, machine: m}
	left, err := filepath.Glob(filepath.Join(dir, "*.copy*"))
	if err != nil {
		return nil, fmt.Errorf("snapshots: %w", err)
	}
	for _, path := range left { // of a crash
		if err := os.RemoveAll(path); err != nil {
			return nil, fmt.Errorf("snapshots: %w", err)
		}
	}
	s.meta, err = readSnapshot(dir)
	return s, err
}

// readSnapshot returns nil where there is none.
func readSnapshot(dir string) (*snapshotMeta, error) {
	b, err := os.ReadFile(filepath.Join(dir, snapshotFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, fmt.Errorf("snapshots: %w", err)
	}
	var meta snapshotMeta
	if err := json.Unmarshal(b, &meta); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", storage.ErrCorrupt, snapshotFile, err)
	}
	if meta.Format != snapshotVersion {
		return nil, fmt.Errorf("%w: %s is of version %d", storage.ErrUnsupported, snapshotFile, meta.Format)
	}
	return &meta, nil
}

// content is what the index must have, or 0.
func (s *snapshots) content() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.meta == nil {
		return 0
	}
	return s.meta.Content
}

func (m *snapshotMeta) raft() *raft.SnapshotMeta {
	return &raft.SnapshotMeta{
		Version: raft.SnapshotVersionMax, ID: m.ID, Index: m.Index, Term: m.Term,
		Configuration: raft.DecodeConfiguration(m.Configuration), ConfigurationIndex: m.ConfigurationIndex,
	}
}

// List implements raft.SnapshotStore.
func (s *snapshots) List() ([]*raft.SnapshotMeta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.meta == nil {
		return nil, nil
	}
	return []*raft.SnapshotMeta{s.meta.raft()}, nil
}

// Open implements raft.SnapshotStore: the reader yields a copy of the index,
// which lies in no folder and goes when it is closed.
func (s *snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	meta, installed := s.meta, s.installed
	s.installed = ""
	s.mu.Unlock()
	if meta == nil || meta.ID != id {
		return nil, nil, fmt.Errorf("%w: snapshot %s", storage.ErrNotFound, id)
	}
	of := meta.raft()
	if installed == id { // raft hands to the machine what it has already
		return of, io.NopCloser(bytes.NewReader(nil)), nil
	}
	f, applied, err := s.copy(s.ctx)
	if err != nil {
		return nil, nil, err
	}
	st, err := f.Stat()
	if err == nil && applied < meta.Content {
		err = fmt.Errorf("%w: the index has %d of %d entries", storage.ErrUnavailable, applied, meta.Content)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	of.Size = st.Size()
	return of, f, nil
}

// copy is a copy of the index as it is now.
func (s *snapshots) copy(ctx context.Context) (*os.File, uint64, error) {
	tmp, err := os.MkdirTemp(s.dir, "out.copy*")
	if err != nil {
		return nil, 0, fmt.Errorf("copy of the index: %w", err)
	}
	defer os.RemoveAll(tmp)
	path := filepath.Join(tmp, "index.db")
	applied, err := s.machine.index.CopyTo(ctx, path)
	if err != nil {
		return nil, 0, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, fmt.Errorf("copy of the index: %w", err)
	}
	return f, applied, nil
}

// Create implements raft.SnapshotStore.
func (s *snapshots) Create(_ raft.SnapshotVersion, index, term uint64, c raft.Configuration, at uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	return &sink{store: s, meta: snapshotMeta{
		Format: snapshotVersion, ID: fmt.Sprintf("%d-%d", term, index), Index: index, Term: term,
		Configuration: raft.EncodeConfiguration(c), ConfigurationIndex: at,
	}}, nil
}

// save makes the snapshot the one there is.
func (s *snapshots) save(meta snapshotMeta, installed bool) error {
	b, err := json.MarshalIndent(meta, "", "  ")
	if err != nil {
		return fmt.Errorf("snapshots: %w", err)
	}
	if err := writeFile(filepath.Join(s.dir, snapshotFile), b); err != nil {
		return fmt.Errorf("snapshots: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.meta = &meta; installed {
		s.installed = meta.ID
	}
	return nil
}

// sink takes a snapshot: of this node's index, of which nothing is written, or
// another's copy of it.
type sink struct {
	store *snapshots
	meta  snapshotMeta
	file  *os.File // nil until something is written
}

// ID implements raft.SnapshotSink.
func (k *sink) ID() string { return k.meta.ID }

// Write implements raft.SnapshotSink.
func (k *sink) Write(p []byte) (int, error) {
	if k.file == nil {
		f, err := os.CreateTemp(k.store.dir, "in.copy*")
		if err != nil {
			return 0, fmt.Errorf("copy of the index: %w", err)
		}
		k.file = f
	}
	return k.file.Write(p)
}

// Close implements raft.SnapshotSink. A copy is first put in its place: a
// crash before the snapshot is noted leaves an index that is ahead of the log.
func (k *sink) Close() error {
	if k.file == nil {
		return k.store.save(k.meta, false)
	}
	defer k.Cancel() //nolint:errcheck // what is left of it, if anything
	if err := errors.Join(k.file.Sync(), k.file.Close()); err != nil {
		return fmt.Errorf("copy of the index: %w", err)
	}
	var err error
	if k.meta.Content, err = k.store.machine.install(k.store.ctx, k.file.Name()); err != nil {
		return err
	}
	k.store.machine.refresh()
	return k.store.save(k.meta, true)
}

// Cancel implements raft.SnapshotSink.
func (k *sink) Cancel() error {
	if k.file == nil {
		return nil
	}
	k.file.Close() // it may be closed
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(k.file.Name() + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// writeFile writes a file whole or not at all, and syncs it.
func writeFile(path string, b []byte) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
