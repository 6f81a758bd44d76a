package gateway

import (
	"context"
	"path"
	"strings"

	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/pack"
)

// Strays lists the archives and tells of packs that the index does not know.
// One that is planned is no harm: it has just been written, or the next start
// finds it written and goes on. Nor is one that was deleted and is still kept.
func (v *Verifier) Strays(ctx context.Context) error {
	deleted, err := deletedKeys(ctx, v.o.Index)
	if err != nil {
		return err
	}
	for _, a := range v.o.Archives {
		if v.away[a.String()] {
			continue
		}
		for st, err := range a.List(ctx, "") {
			if err != nil {
				return err
			}
			if err := v.stray(ctx, a, st, deleted); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *Verifier) stray(ctx context.Context, a archive.Archive, st archive.Stat, deleted map[string]index.DeletionState) error {
	state, was := deleted[st.Key]
	if !isPack(st.Key) || was && state != index.DeletionRemoved {
		return nil
	}
	known, err := PackAt(ctx, v.o.Index, st)
	if err != nil || known != index.PackUnknown {
		return err
	}
	what := "it is not in the index; 'cigogne archive rebuild-index' would enter it"
	if was {
		what = "it was deleted and removed"
	}
	v.tell(Finding{Fault: Stray, PackID: packIDOf(st.Key), Key: st.Key, Archive: a.String(), What: what})
	return nil
}

// PackAt tells what the index knows of the pack under an object's key. It is
// asked after the object was listed, so what was planned in between is known.
func PackAt(ctx context.Context, x *index.Index, st archive.Stat) (index.PackState, error) {
	p, state, err := x.PackNamed(ctx, packIDOf(st.Key))
	if state == index.PackPlanned && pack.Key(p.StudyInstanceUID, p.SeriesInstanceUID, p.PackID, p.Conflict) == st.Key {
		return state, err
	}
	for _, c := range p.Copies {
		if c.Key == st.Key {
			return state, err
		}
	}
	return index.PackUnknown, err
}

// packIDOf is the PackID of the pack under a key.
func packIDOf(key string) string { return strings.TrimSuffix(path.Base(key), pack.Suffix) }
