package pusher

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/esante-alsace/cigogne/gateway/dicomweb"
	"github.com/esante-alsace/cigogne/storage"
)

// Digester tells what a gateway has of a study.
type Digester interface {
	Digests(ctx context.Context, studyInstanceUID string) (dicomweb.Digests, error)
}

const (
	// patience is how long a small file waits to be told that it need not be
	// sent. Over a long line it is sent meanwhile: the answer takes a round
	// trip, and the gateway knows again what it has.
	patience = 20 * time.Millisecond
	// small is a file that is.
	small = 4 << 20
	// mostStudies bounds how many studies are remembered, mostAsking how many
	// are asked about at a time.
	mostStudies, mostAsking = 128, 4
)

func newHeld(from Digester, buffers *sync.Pool) *held {
	return &held{from: from, buffers: buffers, slots: make(chan struct{}, mostAsking), studies: make(map[string]*study)}
}

// held is what the gateway has, asked once for each study.
type held struct {
	from    Digester
	buffers *sync.Pool
	slots   chan struct{}

	mu      sync.Mutex
	studies map[string]*study
	asking  sync.WaitGroup
}

// study is what the gateway has of one.
type study struct {
	known     chan struct{} // closed when the rest is set
	instances map[string]dicomweb.DigestOf
}

// ask begins to ask about a study.
func (h *held) ask(ctx context.Context, uid string) *study {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s, ok := h.studies[uid]; ok {
		return s
	}
	if len(h.studies) >= mostStudies {
		clear(h.studies) // items that wait know theirs
	}
	s := &study{known: make(chan struct{})}
	h.studies[uid] = s
	h.asking.Go(func() {
		defer close(s.known)
		h.slots <- struct{}{}
		defer func() { <-h.slots }()
		d, err := h.from.Digests(ctx, uid)
		if err != nil {
			// Unknown to the gateway, or the gateway does not say: all is
			// sent, and it will tell what was in vain.
			if !errors.Is(err, storage.ErrNotFound) {
				h.forget(uid)
			}
			return
		}
		s.instances = make(map[string]dicomweb.DigestOf, len(d.Instances))
		for _, in := range d.Instances {
			s.instances[in.SOPInstanceUID] = in
		}
	})
	return s
}

// forget has a study asked about again.
func (h *held) forget(uid string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.studies, uid)
}

// has tells whether the gateway has the very same Data Set.
func (h *held) has(ctx context.Context, i *item) (bool, error) {
	s := i.study
	if s == nil {
		s = h.ask(ctx, i.key.StudyInstanceUID)
	}
	if i.size <= small && i.tries == 0 {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		select {
		case <-s.known:
		case <-timer.C:
			return false, nil
		}
	}
	select {
	case <-s.known:
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	in, ok := s.instances[i.key.SOPInstanceUID]
	if !ok || in.SeriesInstanceUID != i.key.SeriesInstanceUID || in.Size-in.Prefix != i.size-i.prefix {
		return false, nil
	}
	digest, err := i.digest(h.buffers)
	return err == nil && digest == in.Digest, err
}
