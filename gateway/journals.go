package gateway

import (
	"context"
	"fmt"
	"io"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// Journals reads what lies in the journals of all nodes. Errors are those of
// journal.Journal, and storage.ErrUnavailable when who has it does not answer.
type Journals interface {
	Header(ctx context.Context, at index.Position) (journal.Entry, error)
	Read(ctx context.Context, at index.Position, part storage.Range) (io.ReadCloser, error)
}

// Copies tells what of this node's journal lies on as many nodes as it must.
type Copies interface {
	// Await returns when an entry that is durable here lies there, too, or
	// with storage.ErrUnavailable when that takes too long.
	Await(ctx context.Context, at journal.Position) error
	// Failing tells why nothing would get there now, or nil.
	Failing() error
	// Holders are the other nodes on which an entry lies.
	Holders(at journal.Position) []string
}

// ownJournal is the Journals of a node that stands alone.
type ownJournal struct{ journal *journal.Journal }

// in is where it lies in this node's journal. Positions of another journal
// mean nothing here: another instance may lie at the same one.
func (o ownJournal) in(at index.Position) (journal.Position, error) {
	if id := o.journal.ID(); string(at.Journal) != id {
		return journal.Position{}, fmt.Errorf("%w: it lies in journal %s, and this node's is %s", storage.ErrUnavailable, at.Journal, id)
	}
	return journalPosition(at), nil
}

// Header implements Journals.
func (o ownJournal) Header(ctx context.Context, at index.Position) (journal.Entry, error) {
	p, err := o.in(at)
	if err != nil {
		return journal.Entry{}, err
	}
	return o.journal.Header(ctx, p)
}

// Read implements Journals.
func (o ownJournal) Read(ctx context.Context, at index.Position, part storage.Range) (io.ReadCloser, error) {
	p, err := o.in(at)
	if err != nil {
		return nil, err
	}
	return o.journal.Read(ctx, p, part)
}

// orOwn is the Journals of a cluster, or the one there is.
func orOwn(all Journals, own *journal.Journal) Journals {
	if all != nil {
		return all
	}
	return ownJournal{own}
}
