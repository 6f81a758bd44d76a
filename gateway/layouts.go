package gateway

import (
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

const (
	// layoutBytes bounds the layouts that are remembered, and layoutsMost
	// their number.
	layoutBytes = 8 << 20
	layoutsMost = 1 << 14
)

// layoutID names what a layout is of. It follows from the bytes and from how
// they are to be read: what is remembered is never out of date.
type layoutID struct {
	digest         storage.Digest
	transferSyntax string
}

func layoutOf(in storage.Instance) layoutID { return layoutID{in.Digest, in.TransferSyntaxUID} }

// layouts remembers the layouts that were read last: a viewer asks for frame
// after frame. Those it gives are shared and must not be changed. A nil one
// remembers nothing.
type layouts struct {
	mu    sync.Mutex
	bytes int
	lru   *simplelru.LRU[layoutID, *dicom.Layout]
}

func newLayouts() *layouts {
	l := &layouts{}
	l.lru, _ = simplelru.NewLRU(layoutsMost, func(_ layoutID, gone *dicom.Layout) { l.bytes -= layoutSize(gone) }) // fails only for a size below 1
	return l
}

// get returns a layout, or nil.
func (l *layouts) get(id layoutID) *dicom.Layout {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	found, _ := l.lru.Get(id)
	return found
}

// put remembers a layout, unless it would take the place of most others.
func (l *layouts) put(id layoutID, found *dicom.Layout) {
	size := layoutSize(found)
	if l == nil || id.digest == (storage.Digest{}) || size > layoutBytes/4 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lru.Remove(id)
	l.lru.Add(id, found)
	for l.bytes += size; l.bytes > layoutBytes; {
		l.lru.RemoveOldest()
	}
}

// layoutSize is about what a layout takes in memory, with its place.
func layoutSize(l *dicom.Layout) int {
	size := 320
	for _, b := range l.Bulk {
		size += 48 + len(b.Path)
	}
	if l.Frames != nil {
		size += 16*len(l.Frames.Fragments) + 8*len(l.Frames.FirstFragment)
	}
	return size
}
