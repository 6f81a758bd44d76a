package gateway

import (
	"context"
	"errors"
	"path"
	"strings"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/pack"
)

// Knowledge is what the index knows of an object of an archive.
type Knowledge string

const (
	// KnownIndexed is a pack that the index names.
	KnownIndexed Knowledge = "indexed"
	// KnownPlanned is a pack that has just been written, or was before a
	// crash: the node finds it written and goes on.
	KnownPlanned Knowledge = "planned"
	// KnownDeleted is a pack that was deleted and is kept until its removal.
	KnownDeleted Knowledge = "deleted"
	// KnownRemoved is a pack that was deleted and should not be there.
	KnownRemoved Knowledge = "removed"
	// KnownStray is a pack that the index has never heard of, and KnownOther
	// what is no pack.
	KnownStray Knowledge = "stray"
	KnownOther Knowledge = "other"
)

// Register tells what the index knows of the objects of archives.
type Register struct {
	index   *index.Index
	deleted map[string]index.DeletionState
}

// NewRegister reads from the index what was deleted.
func NewRegister(ctx context.Context, x *index.Index) (*Register, error) {
	deleted, err := deletedKeys(ctx, x)
	return &Register{index: x, deleted: deleted}, err
}

// Of tells what is known of an object that was listed. The index is asked now:
// what was planned since then is known.
func (r *Register) Of(ctx context.Context, st archive.Stat) (Knowledge, error) {
	if !isPack(st.Key) {
		return KnownOther, nil
	}
	p, state, err := r.index.PackNamed(ctx, packIDOf(st.Key))
	if err != nil {
		return "", err
	}
	if state == index.PackPlanned && pack.Key(p.StudyInstanceUID, p.SeriesInstanceUID, p.PackID, p.Conflict) == st.Key {
		return KnownPlanned, nil
	}
	for _, c := range p.Copies {
		if c.Key == st.Key {
			return KnownIndexed, nil
		}
	}
	switch deletion, was := r.deleted[st.Key]; {
	case was && deletion == index.DeletionRemoved:
		return KnownRemoved, nil
	case was:
		return KnownDeleted, nil
	}
	return KnownStray, nil
}

// Strays lists the archives and tells of packs that should not be there: the
// index does not know them, or they were removed. It also tells of notes that
// are newer than what the index knows.
func (v *Verifier) Strays(ctx context.Context) error {
	known, err := NewRegister(ctx, v.o.Index)
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
			state, err := known.Of(ctx, st)
			if err != nil {
				return err
			}
			f := Finding{Fault: Stray, PackID: packIDOf(st.Key), Key: st.Key, Archive: a.String()}
			switch state {
			case KnownOther:
				newer, err := v.newer(ctx, st.Key)
				if err != nil {
					return err
				}
				if f.Fault, f.PackID = Newer, ""; newer {
					f.What = "the index does not know what it tells, and is older; 'cigogne archive rebuild-index' would enter it"
					v.tell(f)
				}
			case KnownStray:
				f.What = "it is not in the index; 'cigogne archive rebuild-index' would enter it"
				d, err := pack.ReadDirectory(ctx, &packBlob{archive: a, key: st.Key, size: st.Size})
				if err == nil {
					err = atItsPlace(d, st.Key)
				}
				if errors.Is(err, storage.ErrEarlierDigest) || errors.Is(err, storage.ErrCorrupt) {
					f.What = "it is not in the index, and cannot be entered: " + err.Error()
				}
				v.tell(f)
			case KnownRemoved:
				f.What = "it was deleted and removed"
				v.tell(f)
			}
		}
	}
	return nil
}

// newer tells whether a key is that of a note of which the index has no such
// revision.
func (v *Verifier) newer(ctx context.Context, key string) (bool, error) {
	name, revision, ok := parseNoteKey(key)
	if !ok {
		return false, nil
	}
	if study, is := strings.CutPrefix(name, protectedPrefix); is {
		if study = strings.TrimSuffix(study, "/"); study == everyStudy {
			study = ""
		}
		r, err := v.o.Index.Protection(ctx, study)
		return err == nil && r.Revision < revision, err
	}
	if !strings.HasPrefix(name, deletedPrefix) {
		return false, nil
	}
	r, err := v.o.Index.Deletion(ctx, strings.TrimSuffix(path.Base(name), "."))
	if errors.Is(err, storage.ErrNotFound) {
		return true, nil
	}
	return err == nil && r.Revision < revision, err
}

// packIDOf is the PackID of the pack under a key.
func packIDOf(key string) string { return strings.TrimSuffix(path.Base(key), pack.Suffix) }
