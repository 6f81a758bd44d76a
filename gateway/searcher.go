package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/esante-alsace/cigogne/gateway/dmp/ins"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
)

// searchedPacks bounds the packs that one query at the Image level reads.
const searchedPacks = 1024

// Searcher is the Search use case: the index answers for studies and series,
// and for instances that lie in packs their packs do.
type Searcher struct {
	index   *index.Index
	indexer *Indexer
	reader  *Retriever
	realm   ins.Realm
}

// NewSearcher returns a Searcher that knows the national identities of a realm.
func NewSearcher(x *index.Index, i *Indexer, r *Retriever, realm ins.Realm) *Searcher {
	return &Searcher{index: x, indexer: i, reader: r, realm: realm}
}

// Search yields the answers of Find, each as one DICOM JSON object (PS3.18
// §F.2), which is valid until the next one.
func (s *Searcher) Search(ctx context.Context, q index.Query) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		var object []byte
		for ds, err := range s.Find(ctx, q) {
			if err != nil {
				yield(nil, err)
				return
			}
			object = ds.AppendJSON(object[:0])
			if !yield(object, nil) {
				return
			}
		}
	}
}

// Find yields the answers to q in a stable order. What was acknowledged before
// the call is found, unless the index takes nothing just then: what it has is
// found all the same. A query that cannot be answered is storage.ErrInvalid;
// one whose answers are spread over too many packs is storage.ErrTooLarge; one
// that names a patient by a PatientID that is several patients' is
// storage.ErrConflict. An error is the last thing yielded.
func (s *Searcher) Find(ctx context.Context, q index.Query) iter.Seq2[dicom.DataSet, error] {
	return func(yield func(dicom.DataSet, error) bool) {
		if err := s.indexer.Await(ctx); err != nil && !behind(err) {
			yield(nil, err)
			return
		}
		q, err := s.onePatient(ctx, q)
		if err != nil {
			yield(nil, err)
			return
		}
		answers := s.index.Search
		if q.Level == index.Image {
			answers = s.images
		}
		for ds, err := range answers(ctx, q) {
			if !yield(ds, err) || err != nil {
				return
			}
		}
	}
}

// Held tells of each instance whether it is held: see index.Held. What was
// acknowledged before the call is known, unless the index takes nothing just
// then.
func (s *Searcher) Held(ctx context.Context, asked []index.Named) ([]index.Standing, error) {
	if err := s.indexer.Await(ctx); err != nil && !behind(err) {
		return nil, err
	}
	return s.index.Held(ctx, asked)
}

// Conflicts yields one DICOM JSON object for each instance that is kept aside,
// in a stable order.
func (s *Searcher) Conflicts(ctx context.Context) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		if err := s.indexer.Await(ctx); err != nil && !behind(err) {
			yield(nil, err)
			return
		}
		for in, err := range s.index.Conflicts(ctx, index.Query{Level: index.Image}) {
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(in.Attributes.AppendJSON(nil), nil) {
				return
			}
		}
	}
}

// images yields the answers at the Image level, series by series.
func (s *Searcher) images(ctx context.Context, q index.Query) iter.Seq2[dicom.DataSet, error] {
	return func(yield func(dicom.DataSet, error) bool) {
		matcher, err := index.Compile(q)
		if err != nil {
			yield(nil, err)
			return
		}
		skip, left, packs := q.Offset, q.Limit, 0
		for series, err := range s.index.Images(ctx, q) {
			if packs += len(series.Packs); err == nil && packs > searchedPacks {
				err = fmt.Errorf("%w: the query reaches into more than %d packs: name a study or a series", storage.ErrTooLarge, searchedPacks)
			}
			if err == nil && !matcher.Selective() && skip >= series.Instances {
				skip -= series.Instances // all of them are answers
				packs -= len(series.Packs)
				continue
			}
			var packed []index.PackedInstance
			if err == nil {
				packed, err = s.packed(ctx, series.Packs)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			for _, ds := range matcher.Answers(series, packed) {
				if skip > 0 {
					skip--
					continue
				}
				if !yield(ds, nil) {
					return
				}
				if left--; left == 0 {
					return
				}
			}
		}
	}
}

// packed reads what the packs' metadata says of their instances.
func (s *Searcher) packed(ctx context.Context, packs []index.Pack) ([]index.PackedInstance, error) {
	var found []index.PackedInstance
	for _, p := range packs {
		blob, err := s.reader.directories.open(ctx, p)
		if err != nil {
			return nil, err
		}
		d := blob.directory
		err = d.Metadata(ctx, blob, 0, len(d.Entries), func(i int, metadata io.Reader) error {
			if !p.Members.Holds(d.Entries[i].Key.SOPInstanceUID, d.Entries[i].Digest) {
				return nil
			}
			ds, err := decodeMetadata(metadata)
			if err != nil {
				return fmt.Errorf("pack %s, entry %d: %w", blob.key, i, err)
			}
			found = append(found, index.PackedInstance{Instance: d.Entries[i].Instance, Attributes: ds})
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// decodeMetadata reads what is indexed out of one DICOM JSON object, as far as
// it was kept when the instance was received.
func decodeMetadata(r io.Reader) (dicom.DataSet, error) {
	room := keptAttributes
	ds, err := dicom.SelectJSON(r, index.Indexed(), keptAttribute, func(t dicom.Tag, length int) bool {
		fits := ofOwner(t) || length <= room
		if fits {
			room -= length
		}
		return fits
	})
	if errors.Is(err, storage.ErrInvalid) {
		err = fmt.Errorf("%w: metadata: %w", storage.ErrCorrupt, err)
	}
	return ds, err
}
