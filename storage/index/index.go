package index

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/esante-alsace/cigogne/storage"
)

//go:embed schema.sql
var schema string

const (
	// schemaVersion is that of the file. Before 3, digests were SHA-256.
	schemaVersion = 3
	// applicationID stands in the file's header: "Cigo".
	applicationID = 0x4369676F
)

// Options say where an index lies and how much it may take.
type Options struct {
	// Path is the database file; beside it lie its -wal and -shm.
	Path string
	// ReadOnly opens an index that is there, beside the node that writes it or
	// without one. What would change it is storage.ErrUnsupported.
	ReadOnly bool
	// ReadConns bounds the queries that run at the same time; 0 means 4.
	ReadConns int
	// MaxResults is the most results of a query, whatever its limit; 0 means
	// 100,000.
	MaxResults int
	// MaxSearch is the most time that a search may spend in the index, not
	// counting that of who reads the answers; 0 means 20 s.
	MaxSearch time.Duration
	// Logger takes what is worth knowing; nil discards it.
	Logger *slog.Logger
}

const (
	defaultReadConns  = 4
	defaultMaxResults = 100_000
	defaultMaxSearch  = 20 * time.Second
)

// Index is the index of one node. Its methods are safe for use by many
// goroutines; batches are applied one after the other.
type Index struct {
	o     Options
	codec codec

	write *sql.DB // one connection
	read  *reader
	ask   *reader // of Has and Refusals: slow searches must not delay an acknowledgement

	apply     sync.Mutex // held while a batch is applied
	closed    bool
	conn      *sql.Conn // the connection of write, with its statements
	stmts     *statements
	log       raftLog
	disk      syncer
	unsettled atomic.Bool // what the -wal held when it was opened may not be durable

	versions versions
	known    *known
	words    map[string]struct{}    // some that are in the table of words; held with apply
	live     atomic.Pointer[filter] // nil while it is not known what lies in journals
	// filterMost, when not 0, makes filters anew after so many names.
	filterMost int
	// namesMost and sortMost, when not 0, are mostNames and mostSorted.
	namesMost, sortMost int
	// walMost, when not 0, is the constant's; walTried is how long the -wal was
	// when it could not be emptied, held with apply.
	walMost, walTried int64

	happened struct {
		mu   sync.Mutex
		next chan struct{} // nil while nobody waits
	}
}

// Open opens the index at Path, or creates it. A file that is not an index or
// is damaged is storage.ErrCorrupt: remove it and rebuild. One that an
// earlier version wrote is storage.ErrEarlierDigest, one that a newer version
// wrote storage.ErrUnsupported alone.
func Open(ctx context.Context, o Options) (*Index, error) {
	if o.ReadConns <= 0 {
		o.ReadConns = defaultReadConns
	}
	if o.MaxResults <= 0 {
		o.MaxResults = defaultMaxResults
	}
	if o.MaxSearch <= 0 {
		o.MaxSearch = defaultMaxSearch
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c, err := newCodec()
	if err != nil {
		return nil, err
	}
	x := &Index{o: o, codec: c, read: newReader(), ask: newReader(), versions: versions{seed: maphash.MakeSeed()}, known: newKnown(), words: make(map[string]struct{})}
	open := x.open
	if o.ReadOnly {
		open = x.openReadOnly
	}
	if err := open(ctx); err != nil {
		_ = x.Close() // the first error is the one to tell
		return nil, fmt.Errorf("index %s: %w", o.Path, err)
	}
	return x, nil
}

func (x *Index) open(ctx context.Context) (err error) {
	x.disk.begin()
	x.unsettled.Store(false)
	if x.write, err = openPool(x.o.Path, 1, "journal_mode(WAL)", "synchronous(NORMAL)",
		"wal_autocheckpoint(4000)", "cache_size(-16000)"); err != nil {
		return err
	}
	if x.conn, err = x.write.Conn(ctx); err != nil {
		return failed(err)
	}
	if err := x.prepareSchema(ctx); err != nil {
		return err
	}
	if err := x.settle(ctx); err != nil {
		return err
	}
	if x.log, err = readLog(ctx, x.conn); err != nil {
		return err
	}
	if x.stmts, err = prepare(ctx, x.conn); err != nil {
		return failed(err)
	}
	if err := x.filterLive(ctx); err != nil {
		return err
	}
	return x.openReaders()
}

// openReadOnly opens no connection that writes: another process may.
func (x *Index) openReadOnly(ctx context.Context) error {
	if _, err := os.Stat(x.o.Path); err != nil {
		return fmt.Errorf("%w: %w", storage.ErrNotFound, err)
	}
	if err := x.openReaders(); err != nil {
		return err
	}
	now, err := x.read.now()
	if err != nil {
		return err
	}
	empty, err := recognize(ctx, now.db)
	if err == nil && empty {
		err = fmt.Errorf("%w: the index is empty: a node must have been started on it once", storage.ErrUnsupported)
	}
	return err
}

func (x *Index) openReaders() error {
	read, err := openPool(x.o.Path, x.o.ReadConns, "query_only(1)", "cache_size(-8000)")
	if err != nil {
		return err
	}
	x.read.use(read)
	ask, err := openPool(x.o.Path, askConns, "query_only(1)", "cache_size(-2000)")
	if err != nil {
		return err
	}
	x.ask.use(ask)
	return nil
}

// askConns is how many instances can be asked about at the same time.
const askConns = 2

func openPool(path string, conns int, pragmas ...string) (*sql.DB, error) {
	q := url.Values{"_pragma": append([]string{fmt.Sprintf("busy_timeout(%d)", lockWait.Milliseconds())}, pragmas...)}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("path of the index: %w", err)
	}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: abs}).EscapedPath()+"?"+q.Encode())
	if err != nil {
		return nil, failed(err)
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}

func (x *Index) prepareSchema(ctx context.Context) error {
	empty, err := recognize(ctx, x.conn)
	if err == nil && empty {
		err = x.create(ctx)
	}
	if err != nil {
		return err
	}
	_, err = x.conn.ExecContext(ctx, bareStudies)
	return failed(err)
}

// recognize tells whether a database is empty. One that is no index of this
// version's is an error.
func recognize(ctx context.Context, db interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}) (empty bool, err error) {
	var version, application, tables int
	err = db.QueryRowContext(ctx, `SELECT (SELECT user_version FROM pragma_user_version),
		(SELECT application_id FROM pragma_application_id), (SELECT count(*) FROM sqlite_schema)`).
		Scan(&version, &application, &tables)
	switch {
	case err != nil:
		return false, failed(err)
	case version == 0 && application == 0 && tables == 0:
		return true, nil
	case application != applicationID:
		return false, fmt.Errorf("%w: the file is a database, but no index", storage.ErrCorrupt)
	case version > 0 && version < schemaVersion:
		return false, fmt.Errorf("%w: schema version %d", storage.ErrEarlierDigest, version)
	case version != schemaVersion:
		return false, fmt.Errorf("%w: schema version %d, this program knows %d; rebuild the index", storage.ErrUnsupported, version, schemaVersion)
	}
	return false, nil
}

// create makes an index of an empty database, all of it or nothing.
func (x *Index) create(ctx context.Context) error {
	_, err := x.conn.ExecContext(ctx, fmt.Sprintf("BEGIN IMMEDIATE;\n%s\nPRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT",
		schema, applicationID, schemaVersion))
	if err != nil {
		_, _ = x.conn.ExecContext(ctx, "ROLLBACK") // when it was not rolled back already
		return failed(err)
	}
	return x.syncHeld(ctx)
}

// Close ends the index, and waits for the queries that run. What was applied
// is kept. Closing again is no failure; any other call is.
func (x *Index) Close() error {
	x.apply.Lock()
	defer x.apply.Unlock()
	if x.closed {
		return nil
	}
	x.closed = true
	return x.closeFile()
}

// closeFile gives back the connections; apply is held.
func (x *Index) closeFile() error {
	var errs []error
	if x.stmts != nil {
		errs = append(errs, x.stmts.close())
	}
	if x.conn != nil {
		errs = append(errs, x.conn.Close())
	}
	// The readers go first: the last connection to leave checkpoints, which
	// those of read may not.
	errs = append(errs, x.read.Close(), x.ask.Close())
	if x.write != nil {
		errs = append(errs, x.write.Close())
	}
	errs = append(errs, x.disk.close())
	x.stmts, x.conn, x.write = nil, nil, nil
	clear(x.words)
	x.live.Store(nil)
	return errors.Join(errs...)
}

// failed wraps an error of SQLite with the sentinel that says what to do.
func failed(err error) error {
	var e *sqlite.Error
	if err == nil || !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xFF {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("%w: %w", storage.ErrCorrupt, err)
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("%w: %w", storage.ErrFull, err)
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
	case sqlite3.SQLITE_IOERR:
		// SQLite calls a full disk an I/O error when it comes to extending
		// the -shm file.
		if strings.Contains(err.Error(), "no space") {
			return fmt.Errorf("%w: %w", storage.ErrFull, err)
		}
		return fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
	}
	return err
}
