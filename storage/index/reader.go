package index

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"time"

	"github.com/esante-alsace/cigogne/storage"
)

// preparedMost bounds the statements that a reader keeps prepared. The texts
// are made of a few shapes; only queries with many conditions vary.
const preparedMost = 256

// reader is a pool of connections that read. It keeps statements prepared: to
// parse one takes longer than to find a row by its key.
type reader struct {
	mu   sync.Mutex
	pool *pool // nil while the database is exchanged, and when it is closed
}

// pool is the connections to one database with their statements.
type pool struct {
	db    *sql.DB
	words *vocabulary

	mu       sync.Mutex
	prepared map[string]*sql.Stmt
}

func newReader() *reader { return &reader{} }

// use reads from db until Close.
func (r *reader) use(db *sql.DB) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pool = &pool{db: db, words: newVocabulary(), prepared: map[string]*sql.Stmt{}}
}

// now is the pool to read from.
func (r *reader) now() (*pool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pool == nil {
		return nil, errClosed
	}
	return r.pool, nil
}

// errClosed: the database is closed, for good or until it is exchanged.
var errClosed = fmt.Errorf("%w: the index is closed", storage.ErrUnavailable)

// statement returns the text prepared, or nil when it is not to be kept.
func (p *pool) statement(ctx context.Context, query string) (*sql.Stmt, error) {
	p.mu.Lock()
	st, ok := p.prepared[query]
	full := len(p.prepared) >= preparedMost
	p.mu.Unlock()
	if ok || full {
		return st, nil
	}
	st, err := p.db.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if other, ok := p.prepared[query]; ok {
		return other, st.Close()
	}
	p.prepared[query] = st
	return st, nil
}

// QueryContext implements querier.
func (r *reader) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	p, err := r.now()
	if err != nil {
		return nil, err
	}
	return readsIn{r, p}.QueryContext(ctx, query, args...)
}

// readsIn reads in one database, also when it is exchanged meanwhile: then it
// fails.
type readsIn struct {
	reader *reader
	pool   *pool
}

// QueryContext implements querier.
func (in readsIn) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	r, p := in.reader, in.pool
	st, err := p.statement(ctx, query)
	if err != nil {
		return nil, r.why(p, err)
	}
	if st == nil {
		rows, err := p.db.QueryContext(ctx, query, args...)
		return rows, r.why(p, err)
	}
	rows, err := st.QueryContext(ctx, args...)
	return rows, r.why(p, err)
}

// why is the error of a pool, which may be that it was just closed.
func (r *reader) why(p *pool, err error) error {
	if err == nil {
		return nil
	}
	if now, _ := r.now(); now != p {
		return errClosed
	}
	return err
}

// begin begins a transaction that sees one moment of the index.
func (r *reader) begin(ctx context.Context) (*readTx, error) {
	p, err := r.now()
	if err != nil {
		return nil, err
	}
	tx, err := p.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, r.why(p, err)
	}
	return &readTx{tx: tx, pool: p, reader: r}, nil
}

// Close ends the pool with its statements, once those who read are done; the
// index bounds the time of each. Who comes meanwhile gets
// storage.ErrUnavailable.
func (r *reader) Close() error {
	r.mu.Lock()
	p := r.pool
	r.pool = nil
	r.mu.Unlock()
	if p == nil {
		return nil
	}
	err := p.db.Close()
	// A connection that is left would take the -wal of the database that comes
	// after this one for its own, and remove it.
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for p.db.Stats().OpenConnections > 0 {
		<-look.C
	}
	return err
}

// readTx is a transaction that only reads. end must be called.
type readTx struct {
	tx     *sql.Tx
	reader *reader
	pool   *pool
	fresh  []string // texts that were not prepared before
}

// QueryContext implements querier. A text that is new is run as it is: to
// prepare it takes a connection, and this transaction may hold the last one.
func (t *readTx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	t.pool.mu.Lock()
	st, ok := t.pool.prepared[query]
	t.pool.mu.Unlock()
	if ok {
		rows, err := t.tx.StmtContext(ctx, st).QueryContext(ctx, args...)
		return rows, t.reader.why(t.pool, err)
	}
	t.fresh = append(t.fresh, query)
	rows, err := t.tx.QueryContext(ctx, query, args...)
	return rows, t.reader.why(t.pool, err)
}

// end gives the connection back and prepares for the next time.
func (t *readTx) end(ctx context.Context) {
	_ = t.tx.Rollback() // it only read
	for _, query := range t.fresh {
		if _, err := t.pool.statement(ctx, query); err != nil {
			return // the next one who needs it hears why
		}
	}
}
