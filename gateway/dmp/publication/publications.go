package publication

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// Publication tells of one study; storage.ErrNotFound for one never heard of.
func (p *Publisher) Publication(ctx context.Context, study string) (*index.Outgoing, error) {
	o, err := p.o.Index.Publication(ctx, study)
	if err == nil && o == nil && p.seen(ctx, study) == nil { // it has just come
		o, err = p.o.Index.Publication(ctx, study)
	}
	if err == nil && o == nil {
		err = fmt.Errorf("%w: study %s", storage.ErrNotFound, study)
	}
	return o, err
}

// Publications lists at most limit studies for which something is to be done,
// or was refused, behind a StudyInstanceUID.
func (p *Publisher) Publications(ctx context.Context, after string, limit int) ([]index.Outgoing, error) {
	return p.o.Index.Publications(ctx, after, limit)
}

// Retry has a study's place in the shared record seen to now, also when it was
// refused.
func (p *Publisher) Retry(ctx context.Context, study, by string) (*index.Outgoing, error) {
	if _, err := p.Publication(ctx, study); err != nil {
		return nil, err
	}
	d := index.Delivery{StudyInstanceUID: study, Step: index.AskDelivery}
	if err := p.o.Proposer.Propose(ctx, index.Batch{Outbox: []index.Delivery{d}}); err != nil {
		return nil, err
	}
	p.o.Logger.LogAttrs(ctx, slog.LevelInfo, "publication is tried again", slog.String("study", study), slog.String("by", by))
	return p.Publication(ctx, study)
}
