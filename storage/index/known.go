package index

import (
	"context"
	"database/sql"
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/esante-alsace/cigogne/storage/dicom"
)

const (
	// filterBits is the size of a filter: 1 MiB.
	filterBits = 1 << 23
	// filterMost is how many names are entered until a filter is made anew, of
	// what lies in journals then: by it one name in fifty is taken for entered
	// that is not.
	filterMost = 1 << 20
)

// filter tells names that were never entered from those that may have been: a
// Bloom filter. It may be asked while names are entered.
type filter struct {
	seed    maphash.Seed
	bits    [filterBits / 64]atomic.Uint64
	entered int // by one goroutine at a time
	most    int
}

// places of a name in the filter.
func (f *filter) places(name string) (at [4]uint32) {
	h := maphash.String(f.seed, name)
	first, step := uint32(h), uint32(h>>32)|1
	for i := range at {
		at[i] = (first + uint32(i)*step) % filterBits
	}
	return at
}

func (f *filter) enter(name string) {
	f.entered++
	for _, at := range f.places(name) {
		f.bits[at/64].Or(1 << (at % 64))
	}
}

// may tells whether the name may have been entered.
func (f *filter) may(name string) bool {
	for _, at := range f.places(name) {
		if f.bits[at/64].Load()&(1<<(at%64)) == 0 {
			return false
		}
	}
	return true
}

// filterLive enters every SOPInstanceUID that lies in a journal or is kept
// aside into a new filter. Nothing may be applied meanwhile.
func (x *Index) filterLive(ctx context.Context) error {
	f := &filter{seed: maphash.MakeSeed()}
	err := each(ctx, x.conn, `SELECT sop FROM instance UNION ALL SELECT sop FROM conflict`, nil, func(rows *sql.Rows) error {
		var sop sql.RawBytes
		err := rows.Scan(&sop)
		f.enter(string(sop))
		return err
	})
	if err != nil {
		return err // the filter before knows more than it has to
	}
	f.most = max(filterMost, 2*f.entered)
	if x.filterMost > 0 {
		f.most = f.entered + x.filterMost
	}
	x.live.Store(f)
	return nil
}

// renewFilter makes the filter anew when too many names were entered.
func (x *Index) renewFilter(ctx context.Context) error {
	if f := x.live.Load(); f.entered <= f.most {
		return nil
	}
	return x.filterLive(ctx)
}

// studiesKnown bounds the studies of which it is remembered what Has asks.
const studiesKnown = 2048

// known remembers what Has asks of studies, as of their versions.
type known struct {
	mu  sync.Mutex
	lru *simplelru.LRU[string, knownStudy]
}

// knownStudy is what Has asks of a study: whether there is one, whose, and
// whether it has packs.
type knownStudy struct {
	version uint64
	packs   bool
	// described is true when the study says who its patient is, as it does
	// unless nothing but its manifests was found yet.
	described bool
	patient   dicom.DataSet
}

// isOthers tells whether an instance is another patient's than the study.
func (s *knownStudy) isOthers(in *Instance) bool {
	return s.described && !in.isManifest() && otherPatient(s.patient, in.Attributes)
}

func newKnown() *known {
	k := &known{}
	k.lru, _ = simplelru.NewLRU[string, knownStudy](studiesKnown, nil) // fails only for a size below 1
	return k
}

func (k *known) get(study string, version uint64) (knownStudy, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, ok := k.lru.Get(study)
	return s, ok && s.version == version
}

func (k *known) put(study string, s knownStudy) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lru.Add(study, s)
}

// fromMemory is Has of an instance whose name lies nowhere, in a study that is
// remembered and has no packs: those of series that are being received. The
// name is looked for first: it leaves the filter only after the version of its
// study has counted that it went into a pack.
func (x *Index) fromMemory(in *Instance) (Standing, bool) {
	live := x.live.Load()
	if live == nil || live.may(in.Key.SOPInstanceUID) {
		return 0, false
	}
	version, counted := x.Version(in.Key.StudyInstanceUID)
	s, ok := x.known.get(in.Key.StudyInstanceUID, version)
	switch {
	case !ok || !counted || s.packs:
		return 0, false
	case s.isOthers(in):
		return StandingConflict, true
	}
	return StandingNew, true
}
