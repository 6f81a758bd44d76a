package journal

import (
	"context"
	"io"
	"log/slog"
	"time"
)

// Defaults of Options.
const (
	DefaultSegmentBytes = 64 << 20
	DefaultInlineBytes  = 1 << 20
	DefaultEarlyBytes   = 256 << 10
	DefaultMaxPending   = 4096
)

// Options say where a journal lies and what it may use.
type Options struct {
	// Dir is the journal's own folder; it is made when absent.
	Dir string
	// SegmentBytes, large files included, is after how much a new segment
	// begins; a segment is somewhat longer. Default DefaultSegmentBytes.
	SegmentBytes int64
	// InlineBytes is the longest payload that lies within a segment; a longer
	// one lies in a file of its own. An Append holds no more than this, and
	// at most 256 KiB, in memory. Default DefaultInlineBytes.
	InlineBytes int
	// EarlyBytes is after how much of a payload it is written while the rest
	// comes, when it alone does, so that the fsync is shorter.
	// Default DefaultEarlyBytes.
	EarlyBytes int64
	// MaxBytes bounds what the journal takes on the disk; beyond it appending
	// fails with storage.ErrFull and storage.ErrUnavailable. 0: what the disk has.
	MaxBytes int64
	// MaxPending bounds the entries that are written and not yet durable or
	// not yet taken by Durable; at the bound Commit waits.
	// Default DefaultMaxPending.
	MaxPending int
	// Durable, when set, is given the entries in order of position, from one
	// goroutine, after the fsync that made them durable and before their
	// Waits return. While it blocks nothing more becomes durable. Close waits
	// for it. It must not call Seal, Close or Wait, which wait for it.
	Durable func([]Entry)
	// Ahead, when set, is given each large file once it is durable, by the
	// goroutine of Commit and with the context of its Append: the record that
	// refers to the file is written when Ahead returns, and nothing else waits
	// for that.
	Ahead func(context.Context, LargeFile)
	// Synced, when set, is told of each group fsync: how many entries it made
	// durable and how long it took. It is called from the goroutine that
	// calls Durable and must not block.
	Synced func(entries int, took time.Duration)
	// AllowDamage opens a journal in which acknowledged entries are damaged.
	// Without it Open fails with storage.ErrCorrupt; with it they are logged,
	// skipped by Replay, and named by Verify.
	AllowDamage bool
	// ReadOnly opens for Replay, Read, Header and Verify alone, repairs
	// nothing and starts nothing. It fails while a process has the journal
	// open for writing.
	ReadOnly bool
	// FS is the file system; nil is the operating system's.
	FS FS
	// Logger gets what an operator should know; nil is slog.Default().
	Logger *slog.Logger
	// NoSync leaves out every fsync. Nothing is durable then: it is for
	// benchmarks that want to know what the fsync costs.
	NoSync bool
}

// LargeFile is a large file that no record refers to yet.
type LargeFile struct {
	ID   uint64
	Size int64
	// Open reads it from its beginning; what it returns must be closed.
	Open func() (io.ReadCloser, error)
}

func (o Options) withDefaults() Options {
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = DefaultSegmentBytes
	}
	if o.InlineBytes <= 0 {
		o.InlineBytes = DefaultInlineBytes
	}
	if o.EarlyBytes <= 0 {
		o.EarlyBytes = DefaultEarlyBytes
	}
	if o.MaxPending <= 0 {
		o.MaxPending = DefaultMaxPending
	}
	if o.FS == nil {
		o.FS = osFS{}
	}
	if o.NoSync {
		o.FS = noSyncFS{o.FS}
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

// noSyncFS is an FS that makes nothing durable.
type noSyncFS struct{ FS }

func (f noSyncFS) Create(name string) (File, error) {
	file, err := f.FS.Create(name)
	if err != nil {
		return nil, err
	}
	return noSyncFile{file}, nil
}

func (noSyncFS) SyncDir(string) error { return nil }

type noSyncFile struct{ File }

func (noSyncFile) Sync() error                       { return nil }
func (noSyncFile) Writeback(int64, int64) error      { return nil }
func (noSyncFile) StartWriteback(int64, int64) error { return nil }
