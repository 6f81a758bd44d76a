package gateway

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/journal"
	"github.com/esante-alsace/cigogne/storage/trace"
)

// RetrieverOptions are the parts a Retriever works with.
type RetrieverOptions struct {
	Index   *index.Index
	Indexer *Indexer
	Journal *journal.Journal
	// Journals reads those of a cluster; nil reads Journal alone.
	Journals Journals
	Archive  archive.Archive
	// Far tells that requests to the archive are dear: instances that are read
	// one after the other are then asked for together.
	Far bool
	// Damaged is told of the key of a pack in which what was read is damaged,
	// on all archives that could be asked. It must not block; nil is nobody.
	Damaged func(key string)
	// DirectoryBytes bounds the pack directories that are kept in memory;
	// 0 means 16 MiB.
	DirectoryBytes int64
}

// asking tells where what is selected lies: see places.
type asking func(context.Context, index.Selector) ([]index.LiveInstance, []index.Pack, error)

// Retriever is the Retrieve use case: it finds instances where they lie and
// reads them there.
type Retriever struct {
	o           RetrieverOptions
	directories *directories
	places      *places
	layouts     *layouts
}

// NewRetriever returns a Retriever.
func NewRetriever(o RetrieverOptions) *Retriever {
	o.Journals = orOwn(o.Journals, o.Journal)
	return &Retriever{o: o, directories: newDirectories(o.Archive, o.DirectoryBytes, o.Damaged), places: newPlaces(o.Index), layouts: newLayouts()}
}

// Instances locates what is selected, series by series and in the order of
// InstanceNumber within each pack and within what is not packed yet; of the
// manifests of a study or a series the one that stands. Nothing selected is storage.ErrNotFound, or storage.ErrUnavailable while the index
// takes nothing and is behind the journal.
func (r *Retriever) Instances(ctx context.Context, sel Selector) ([]Instance, error) {
	return r.locate(ctx, sel, r.places.find)
}

// locate is Instances, by a way to ask where they lie.
func (r *Retriever) locate(ctx context.Context, sel Selector, ask asking) (_ []Instance, err error) {
	ctx, span := trace.Start(ctx, "locate")
	defer func() { span.Done(err) }()
	lag := r.o.Indexer.Await(ctx)
	if lag != nil && !behind(lag) {
		return nil, lag
	}
	live, packs, err := ask(ctx, index.Selector(sel))
	if err != nil {
		return nil, err
	}
	over := r.overStudy(sel)
	found, err := r.packed(ctx, packs, sel.SOPInstanceUID, over)
	if err != nil {
		return nil, err
	}
	found = r.withLive(found, live, sel, over)
	if sel.SOPInstanceUID == "" && !sel.Conflicts {
		if found, err = r.standing(ctx, sel.StudyInstanceUID, found); err != nil {
			return nil, err
		}
	}
	if len(found) == 0 && lag != nil {
		return nil, lag // it may be what the index does not have yet
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%w: %s", storage.ErrNotFound, sel)
	}
	return found, nil
}

// overStudy returns what is laid over the metadata of the instances of one
// request: who assigned the PatientID, as searches say it. It is looked up
// when it is first asked for. What is kept aside is shown as it came.
func (r *Retriever) overStudy(sel Selector) overlaid {
	if sel.Conflicts {
		return func(context.Context) (dicom.DataSet, error) { return nil, nil }
	}
	var mu sync.Mutex
	var known bool
	var over dicom.DataSet
	return func(ctx context.Context) (dicom.DataSet, error) {
		mu.Lock()
		defer mu.Unlock()
		if known {
			return over, nil
		}
		is, err := r.o.Index.Issuer(ctx, sel.StudyInstanceUID)
		if err != nil {
			return nil, err
		}
		if known = true; !strings.HasPrefix(is.Name, storage.AssumedIssuer) {
			over = issuerElements(is)
		}
		return over, nil
	}
}

// packed are the instances of the packs, or the one that is asked for. A pack
// can hold instances that the index has in another place: those are not its.
// What several adopted packs hold is given once.
func (r *Retriever) packed(ctx context.Context, packs []index.Pack, sop string, over overlaid) ([]Instance, error) {
	if sop != "" {
		packs = slices.DeleteFunc(packs, func(p index.Pack) bool { return !p.Members.Named(sop) })
	}
	blobs, err := r.open(ctx, packs)
	if err != nil {
		return nil, err
	}
	var found []Instance
	var all []*details
	seen := make(map[memberID]bool)
	for i, p := range packs {
		d := &details{packBlob: blobs[i]}
		all = append(all, d)
		for i, e := range d.directory.Entries {
			wanted := (sop == "" || sop == e.Key.SOPInstanceUID) && p.Members.Holds(e.Key.SOPInstanceUID, e.Digest)
			if !wanted || seen[idOf(e.Instance)] {
				continue
			}
			if len(packs) > 1 {
				seen[idOf(e.Instance)] = true
			}
			d.whole = append(d.whole, e.Stored())
			found = append(found, &packed{details: d, i: i, over: over.of(e.Instance), layouts: r.layouts})
		}
	}
	if sop == "" {
		r.chain(ctx, all)
	}
	return found, nil
}

// openAtOnce is how many directories are read at the same time.
const openAtOnce = 8

// open returns the packs with their directories.
func (r *Retriever) open(ctx context.Context, packs []index.Pack) ([]*packBlob, error) {
	if len(packs) == 0 {
		return nil, nil
	}
	blobs := make([]*packBlob, len(packs))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(openAtOnce)
	for i, p := range packs {
		group.Go(func() (err error) {
			blobs[i], err = r.directories.open(ctx, p)
			return err
		})
	}
	return blobs, group.Wait()
}

func (r *Retriever) withLive(found []Instance, live []index.LiveInstance, sel Selector, over overlaid) []Instance {
	seen := make(map[memberID]bool, len(found))
	if len(live) > 0 {
		for _, in := range found {
			seen[idOf(in.About())] = true
		}
	}
	for _, in := range live {
		if seen[idOf(in.Instance.Instance)] {
			continue
		}
		found = append(found, r.journaled(in, sel.Conflicts, over))
	}
	return found
}

func (r *Retriever) journaled(in index.LiveInstance, conflicts bool, over overlaid) *journaled {
	j := newJournaled(in, r.o.Journals)
	j.over, j.layouts = over.of(in.Instance.Instance), r.layouts
	j.moved = func(ctx context.Context) (Instance, error) {
		again, err := r.locate(ctx, Selector{
			StudyInstanceUID:  in.Key.StudyInstanceUID,
			SeriesInstanceUID: in.Key.SeriesInstanceUID,
			SOPInstanceUID:    in.Key.SOPInstanceUID,
			Conflicts:         conflicts,
		}, r.places.read)
		if err != nil {
			return nil, err
		}
		for _, a := range again {
			if a.About().Digest != in.Digest {
				continue
			}
			if still, ok := a.(*journaled); ok && still.at == in.At {
				return nil, fmt.Errorf("%w: the index says that instance %s lies in the journal at %v, where there is none",
					storage.ErrCorrupt, in.Key.SOPInstanceUID, journalPosition(in.At))
			}
			return a, nil
		}
		return nil, fmt.Errorf("%w: instance %s", storage.ErrNotFound, in.Key.SOPInstanceUID)
	}
	return j
}

// String is the selector as a resource path.
func (s Selector) String() string {
	path := "study " + s.StudyInstanceUID
	if s.SeriesInstanceUID != "" {
		path += " series " + s.SeriesInstanceUID
	}
	if s.SOPInstanceUID != "" {
		path += " instance " + s.SOPInstanceUID
	}
	return path
}
