package publication

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/dmp/manifest"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// makeOwed stores the manifests that are not stored yet. It does what it can
// and returns what failed. Doing it twice stores the same bytes twice.
func (p *Publisher) makeOwed(ctx context.Context) error {
	var errs []error
	for after := ""; ctx.Err() == nil; {
		owed, err := p.o.Index.OwedManifests(ctx, after, quietList)
		if err != nil || len(owed) == 0 {
			return errors.Join(append(errs, err)...)
		}
		// A version that a power cut undid would be made anew as of another time.
		if err := p.o.Index.Sync(ctx); err != nil {
			return err
		}
		for i := range owed {
			if err := p.makeOne(ctx, &owed[i]); err != nil && len(errs) < quietList {
				errs = append(errs, fmt.Errorf("manifest of study %s: %w", owed[i].StudyInstanceUID, err))
			}
		}
		after = owed[len(owed)-1].StudyInstanceUID
	}
	return ctx.Err()
}

// makeOne stores the manifest of a study, unless it is there, and says so.
func (p *Publisher) makeOne(ctx context.Context, life *index.StudyLife) error {
	there, err := p.stored(ctx, life)
	if err != nil {
		return err
	}
	if !there {
		c, err := p.content(ctx, life.StudyInstanceUID)
		if err != nil {
			return err
		}
		if c.digest != life.Content || !c.manifested() {
			return nil // it has changed, and will be another version
		}
		if err := p.store(ctx, p.manifest(c, life.Manifest)); err != nil {
			return err
		}
		if there, err = p.stored(ctx, life); err != nil || !there {
			return err // the study was deleted meanwhile
		}
	}
	made := index.MadeManifest{StudyInstanceUID: life.StudyInstanceUID, SOPInstanceUID: life.Manifest.SOPInstanceUID}
	return p.o.Proposer.Propose(ctx, index.Batch{Life: &index.Life{Made: []index.MadeManifest{made}}})
}

// stored tells whether the manifest of a study is an instance of it.
func (p *Publisher) stored(ctx context.Context, life *index.StudyLife) (bool, error) {
	_, err := p.o.Retrieve.Instances(ctx, selectorOf(life.StudyInstanceUID, life.Manifest.SOPInstanceUID))
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func selectorOf(study, sop string) gateway.Selector {
	return gateway.Selector{StudyInstanceUID: study, SeriesInstanceUID: manifestSeries(study), SOPInstanceUID: sop}
}

// store brings a manifest the way of every instance.
func (p *Publisher) store(ctx context.Context, m *manifest.Manifest) error {
	ds, err := m.DataSet()
	if err != nil {
		return err
	}
	pending, err := p.o.Store.Receive(ctx, gateway.Incoming{
		Body: bytes.NewReader(ds), Form: gateway.DataSet, TransferSyntaxUID: manifest.TransferSyntaxUID,
		SOPClassUID: manifest.SOPClassUID, SOPInstanceUID: m.SOPInstanceUID(), StudyInstanceUID: m.Study.StudyInstanceUID,
		Origin: storage.Origin{Transport: storage.TransportManifest},
	})
	if err != nil {
		return err
	}
	receipt, err := pending.Wait(ctx)
	if err == nil && receipt.Standing == gateway.Conflict {
		err = fmt.Errorf("%w: another Data Set has its SOPInstanceUID", storage.ErrConflict)
	}
	return err
}
