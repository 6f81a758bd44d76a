package gateway

import (
	"context"
	"fmt"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// Historian tells what happened: to a study, to an instance, and in the order
// in which it happened everywhere.
type Historian struct {
	index   *index.Index
	indexer *Indexer
	reader  *Retriever
}

// NewHistorian returns a Historian.
func NewHistorian(x *index.Index, i *Indexer, r *Retriever) *Historian {
	return &Historian{index: x, indexer: i, reader: r}
}

// Study is what happened to the series of a study; one never heard of is
// storage.ErrNotFound. What was acknowledged before the call is told, unless
// the index takes nothing just then.
func (h *Historian) Study(ctx context.Context, study string) ([]index.SeriesHistory, error) {
	lag := h.indexer.Await(ctx)
	if lag != nil && !behind(lag) {
		return nil, lag
	}
	all, err := h.index.History(ctx, study)
	switch {
	case err != nil || len(all) > 0:
		return all, err
	case lag != nil:
		return nil, lag // it may be what the index does not have yet
	}
	return nil, fmt.Errorf("%w: study %s", storage.ErrNotFound, study)
}

// InstanceHistory is what is known of one instance.
type InstanceHistory struct {
	storage.Instance
	// Copies are the archives in which it lies.
	Copies []index.PackArchive
	// Series is what happened to its series.
	Series []index.Step
}

// Instance tells of one instance, all of whose UIDs are given.
func (h *Historian) Instance(ctx context.Context, sel Selector) (InstanceHistory, error) {
	found, err := h.reader.Instances(ctx, sel)
	if err != nil {
		return InstanceHistory{}, err
	}
	told := InstanceHistory{Instance: found[0].About()}
	packs, err := h.index.Packs(ctx, index.Selector(sel))
	if err != nil {
		return told, err
	}
	for _, p := range packs {
		if p.Members.Holds(sel.SOPInstanceUID, told.Digest) {
			told.Copies = append(told.Copies, p.Copies...)
		}
	}
	all, err := h.index.History(ctx, sel.StudyInstanceUID)
	for _, s := range all {
		if s.SeriesInstanceUID == sel.SeriesInstanceUID {
			told.Series = s.Steps
		}
	}
	return told, err
}

// Events lists what happened after an event: see index.Events.
func (h *Historian) Events(ctx context.Context, after int64, limit int) ([]index.Event, error) {
	return h.index.Events(ctx, after, limit)
}

// Feed tells the first event that is kept and the last there is.
func (h *Historian) Feed(ctx context.Context) (first, last int64, err error) {
	return h.index.Feed(ctx)
}

// Happened is closed when events come after this call.
func (h *Historian) Happened() <-chan struct{} { return h.index.Happened() }
