package gateway

import (
	"context"
	"slices"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/esante-alsace/cigogne/storage/index"
)

const (
	// placesMost bounds the instances whose places are remembered, which take
	// less than 1 KiB each, and placesSeries the series.
	placesMost   = 8192
	placesSeries = 1024
	// placesOfOne is the most instances of one series that are remembered.
	placesOfOne = placesMost / 4
)

// places remembers where the instances of the series and studies lie that were
// asked for last: viewers fetch their metadata, and then a series instance by
// instance. What it remembers holds as long as index.Version is the same.
type places struct {
	index *index.Index

	mu   sync.Mutex
	kept int // instances
	lru  *simplelru.LRU[seriesID, *place]
}

// seriesID names a series, or without one all of a study.
type seriesID struct{ study, series string }

// place is where the instances of a series lie, as of a version of its study.
type place struct {
	version uint64
	known   bool                 // otherwise it was only asked for
	live    []index.LiveInstance // without Attributes, in their order
	by      map[string]int       // where in live, by SOPInstanceUID
	packs   []index.Pack
	// size is how many instances they are, or were when that was last known,
	// and asked how often one was asked for since.
	size, asked int
}

// due tells whether it is worth to read where all of the series lie: not for
// the first of them, and not each time that one is added to a long series.
func (p *place) due() bool { return p.size <= placesOfOne && p.asked > 1+p.size/16 }

func newPlaces(x *index.Index) *places {
	p := &places{index: x}
	p.lru, _ = simplelru.NewLRU(placesSeries, func(_ seriesID, gone *place) { p.kept -= gone.takes() }) // fails only for a size below 1
	return p
}

// read asks the index. Packs are asked for after the journal: an instance that
// is archived in between is seen twice, never missed.
func (p *places) read(ctx context.Context, sel index.Selector) (live []index.LiveInstance, packs []index.Pack, err error) {
	if live, err = p.index.Where(ctx, sel); err == nil {
		packs, err = p.index.Packs(ctx, sel)
	}
	return live, packs, err
}

// find is read, or out of memory: for what was asked for before as it is now,
// and for an instance of a series that others were asked for of. What it
// returns is not to be changed.
func (p *places) find(ctx context.Context, sel index.Selector) ([]index.LiveInstance, []index.Pack, error) {
	id := seriesID{sel.StudyInstanceUID, sel.SeriesInstanceUID}
	version, counted := p.index.Version(id.study)
	switch {
	case !counted || sel.Conflicts || id.study == "" || id.series == "" && sel.SOPInstanceUID != "":
		return p.read(ctx, sel)
	case sel.SOPInstanceUID == "":
		return p.all(ctx, id, version)
	}
	known, due := p.get(id, version)
	if due {
		live, packs, err := p.read(ctx, index.Selector{StudyInstanceUID: id.study, SeriesInstanceUID: id.series})
		if err != nil {
			return nil, nil, err
		}
		known = newPlace(version, live, packs)
		p.put(id, known)
	}
	if known == nil {
		return p.read(ctx, sel)
	}
	live, packs := known.of(sel.SOPInstanceUID)
	return live, packs, nil
}

// all is where all instances of a series or a study lie.
func (p *places) all(ctx context.Context, id seriesID, version uint64) ([]index.LiveInstance, []index.Pack, error) {
	p.mu.Lock()
	last, ok := p.lru.Get(id)
	p.mu.Unlock()
	if ok && last.known && last.version == version {
		return last.live, last.packs, nil
	}
	live, packs, err := p.read(ctx, index.Selector{StudyInstanceUID: id.study, SeriesInstanceUID: id.series})
	if err == nil {
		p.put(id, newPlace(version, live, packs))
	}
	return live, packs, err
}

// get returns what is known of a series as of a version, or nil, and then
// whether it should be.
func (p *places) get(id seriesID, version uint64) (known *place, due bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	last, ok := p.lru.Get(id)
	if ok && last.known && last.version == version {
		return last, false
	}
	next := &place{version: version}
	if ok {
		next.size, next.asked = last.size, last.asked
		if last.version != version {
			next.asked = 0
		}
	}
	next.asked++
	p.add(id, next)
	return nil, next.due()
}

// put remembers a series that is not too long.
func (p *places) put(id seriesID, found *place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if found.size > placesOfOne {
		found = &place{version: found.version, size: found.size}
	}
	p.add(id, found)
}

// takes is how many instances are remembered.
func (p *place) takes() int {
	if p.known {
		return p.size
	}
	return 0
}

// add takes the place of what was remembered; mu is held.
func (p *places) add(id seriesID, found *place) {
	p.lru.Remove(id)
	p.lru.Add(id, found)
	for p.kept += found.takes(); p.kept > placesMost; {
		p.lru.RemoveOldest()
	}
}

func newPlace(version uint64, live []index.LiveInstance, packs []index.Pack) *place {
	found := &place{version: version, known: true, live: live, packs: packs, size: len(live), by: make(map[string]int, len(live))}
	for i, in := range live {
		found.by[in.Key.SOPInstanceUID] = i
	}
	for _, pack := range packs {
		found.size += pack.Members.Len()
	}
	return found
}

// of is where one instance lies.
func (p *place) of(sop string) (live []index.LiveInstance, packs []index.Pack) {
	if i, ok := p.by[sop]; ok {
		live = p.live[i : i+1 : i+1]
	}
	packs = slices.Clone(p.packs)
	return live, slices.DeleteFunc(packs, func(pack index.Pack) bool { return !pack.Members.Named(sop) })
}
