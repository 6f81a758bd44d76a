package index

import (
	"context"
	"database/sql"
	"sync"
)

// preparedMost bounds the statements that a reader keeps prepared. The texts
// are made of a few shapes; only queries with many conditions vary.
const preparedMost = 256

// reader is a pool of connections that read. It keeps statements prepared: to
// parse one takes longer than to find a row by its key.
type reader struct {
	db *sql.DB

	mu       sync.Mutex
	prepared map[string]*sql.Stmt
}

func newReader(db *sql.DB) *reader {
	return &reader{db: db, prepared: map[string]*sql.Stmt{}}
}

// statement returns the text prepared, or nil when it is not to be kept.
func (r *reader) statement(ctx context.Context, query string) (*sql.Stmt, error) {
	r.mu.Lock()
	st, ok := r.prepared[query]
	full := len(r.prepared) >= preparedMost
	r.mu.Unlock()
	if ok || full {
		return st, nil
	}
	st, err := r.db.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if other, ok := r.prepared[query]; ok {
		return other, st.Close()
	}
	r.prepared[query] = st
	return st, nil
}

// QueryContext implements querier.
func (r *reader) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	st, err := r.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	if st == nil {
		return r.db.QueryContext(ctx, query, args...)
	}
	return st.QueryContext(ctx, args...)
}

// begin begins a transaction that sees one moment of the index.
func (r *reader) begin(ctx context.Context) (*readTx, error) {
	tx, err := r.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	return &readTx{tx: tx, reader: r}, nil
}

// Close ends the pool with its statements.
func (r *reader) Close() error { return r.db.Close() }

// readTx is a transaction that only reads. end must be called.
type readTx struct {
	tx     *sql.Tx
	reader *reader
	fresh  []string // texts that were not prepared before
}

// QueryContext implements querier. A text that is new is run as it is: to
// prepare it takes a connection, and this transaction may hold the last one.
func (t *readTx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	t.reader.mu.Lock()
	st, ok := t.reader.prepared[query]
	t.reader.mu.Unlock()
	if ok {
		return t.tx.StmtContext(ctx, st).QueryContext(ctx, args...)
	}
	t.fresh = append(t.fresh, query)
	return t.tx.QueryContext(ctx, query, args...)
}

// end gives the connection back and prepares for the next time.
func (t *readTx) end(ctx context.Context) {
	_ = t.tx.Rollback() // it only read
	for _, query := range t.fresh {
		if _, err := t.reader.statement(ctx, query); err != nil {
			return // the next one who needs it hears why
		}
	}
}
