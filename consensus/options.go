package consensus

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"

	"github.com/esante-alsace/cigogne/consensus/peer"
	"github.com/esante-alsace/cigogne/storage"
)

// Options say what a node is made of.
type Options struct {
	// ID names the node for ever; Advertise is where the others reach it.
	ID        string
	Advertise string
	// Dir takes the log, on the file system of the index.
	Dir    string
	Index  Index
	Port   *peer.Port
	Dialer *peer.Dialer
	// A node that is new is the first of a cluster, or asks one of the
	// addresses to be let in. Afterwards neither counts.
	Bootstrap bool
	Join      []string
	// MaxStaleness is how far behind the cluster a read may be that could not
	// ask it; 0 means 5 s.
	MaxStaleness time.Duration
	Timing       Timing
	// Detail is what a node's status says beside ours; it may be nil.
	Detail func() any
	// Applied, when set, is told how long each entry took to be applied to the
	// index. It must not block.
	Applied func(took time.Duration)
	// Now is the node's clock; nil means time.Now.
	Now    func() time.Time
	Logger *slog.Logger
}

// Timing is how soon the cluster notices things, and how much log it keeps.
// Zeros mean the defaults, which are for machines within some 20 ms of each
// other.
type Timing struct {
	// Election is how long nothing may be heard of the leader: 500 ms.
	Election time.Duration
	// Commit is how soon followers learn what the leader committed: 10 ms.
	Commit time.Duration
	// Look is how often the leader looks at each node: 500 ms.
	Look time.Duration
	// SnapshotEvery is how often the log is looked at: 5 s; Entries how many
	// entries it may be ahead of the snapshot: 256; Trailing how many are kept
	// behind it for followers that lag: 1024.
	SnapshotEvery     time.Duration
	Entries, Trailing uint64
}

func (t Timing) withDefaults() Timing {
	for _, d := range []struct {
		to *time.Duration
		is time.Duration
	}{
		{&t.Election, 500 * time.Millisecond}, {&t.Commit, 10 * time.Millisecond},
		{&t.Look, 500 * time.Millisecond}, {&t.SnapshotEvery, 5 * time.Second},
	} {
		if *d.to <= 0 {
			*d.to = d.is
		}
	}
	if t.Entries == 0 {
		t.Entries = 256
	}
	if t.Trailing == 0 {
		t.Trailing = 1024
	}
	return t
}

func (o *Options) config(log *slog.Logger) *raft.Config {
	t := o.Timing
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(o.ID)
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = t.Election, t.Election, t.Election
	c.CommitTimeout, c.MaxAppendEntries = t.Commit, entriesAtOnce
	c.BatchApplyCh = true
	c.SnapshotInterval, c.SnapshotThreshold, c.TrailingLogs = t.SnapshotEvery, t.Entries, t.Trailing
	c.ShutdownOnRemove = false
	c.NoSnapshotRestoreOnStart = true // the index is the snapshot
	c.NoLegacyTelemetry = true
	c.Logger = newRaftLogger(log)
	return c
}

// identity is node.json: whose log lies beside it.
type identity struct {
	Format  int    `json:"format"`
	Node    string `json:"node"`
	Cluster string `json:"cluster"` // "" until it was let in
}

const (
	identityFile    = "node.json"
	identityVersion = 1
)

// readIdentity returns the zero identity where there is none.
func readIdentity(dir string) (identity, error) {
	b, err := os.ReadFile(filepath.Join(dir, identityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return identity{}, nil
	}
	if err != nil {
		return identity{}, fmt.Errorf("raft: %w", err)
	}
	var i identity
	if err := json.Unmarshal(b, &i); err != nil {
		return identity{}, fmt.Errorf("%w: %s: %w", storage.ErrCorrupt, identityFile, err)
	}
	if i.Format != identityVersion {
		return identity{}, fmt.Errorf("%w: %s is of version %d", storage.ErrUnsupported, identityFile, i.Format)
	}
	return i, nil
}

func (i identity) write(dir string) error {
	i.Format = identityVersion
	b, err := json.Marshal(i)
	if err != nil {
		return fmt.Errorf("raft: %w", err)
	}
	if err := writeFile(filepath.Join(dir, identityFile), b); err != nil {
		return fmt.Errorf("raft: %w", err)
	}
	return nil
}

// Heals tells whether the node whose log lies in dir fetches its index from
// the others when it has none: it may be removed when it is damaged.
func Heals(dir string) (bool, error) {
	meta, err := readSnapshot(dir)
	return meta != nil && meta.Content > 0, err
}

// Joined tells whether the node whose log lies in dir belongs to a cluster.
func Joined(dir string) (bool, error) {
	i, err := readIdentity(dir)
	return i.Cluster != "", err
}
