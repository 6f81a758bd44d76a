package puller

import (
	"context"
	"slices"
	"sync"

	"github.com/esante-alsace/cigogne/storage"
)

// spans are the ranges of a file that are missing and that nobody fetches.
type spans struct {
	mu      sync.Mutex
	missing []storage.Range // in ascending order, apart from each other
	flying  int             // taken, neither done nor put back
	changed chan struct{}   // closed at each change
}

func newSpans(size int64) *spans {
	return &spans{missing: []storage.Range{{Length: size}}, changed: make(chan struct{})}
}

// change tells who waits. The lock is held.
func (s *spans) change() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// remove takes a range out of what is missing.
func (s *spans) remove(r storage.Range) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var left []storage.Range
	for _, m := range s.missing {
		if before := min(m.End(), r.Offset) - m.Offset; before > 0 {
			left = append(left, storage.Range{Offset: m.Offset, Length: before})
		}
		if from := max(m.Offset, r.End()); from < m.End() {
			left = append(left, storage.Range{Offset: from, Length: m.End() - from})
		}
	}
	s.missing = left
	s.change()
}

// bytes is how much is missing and not fetched.
func (s *spans) bytes() (n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.missing {
		n += m.Length
	}
	return n
}

// within is how much of a range is missing.
func (s *spans) within(r storage.Range) (n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.missing {
		n += max(0, min(m.End(), r.End())-max(m.Offset, r.Offset))
	}
	return n
}

// take takes the first range that is missing. How says where one that begins
// at an offset should end. When nothing is missing it waits as long as
// something is fetched that may fail; false means that all is there, or that
// ctx ended.
func (s *spans) take(ctx context.Context, how func(from int64) (end int64)) (storage.Range, bool) {
	for ctx.Err() == nil {
		s.mu.Lock()
		if len(s.missing) > 0 {
			r := s.missing[0]
			if length := how(r.Offset) - r.Offset; length < r.Length {
				s.missing[0] = storage.Range{Offset: r.Offset + length, Length: r.Length - length}
				r.Length = length
			} else {
				s.missing = s.missing[1:]
			}
			s.flying++
			s.mu.Unlock()
			return r, true
		}
		over, changed := s.flying == 0, s.changed
		s.mu.Unlock()
		if over {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	return storage.Range{}, false
}

// settle ends with a range that was taken: what is left of it is missing
// again.
func (s *spans) settle(left storage.Range) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flying--
	s.put(left)
	s.change()
}

// again makes a range missing that was fetched in vain.
func (s *spans) again(r storage.Range) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(r)
	s.change()
}

func (s *spans) put(r storage.Range) {
	if r.Length <= 0 {
		return
	}
	at, _ := slices.BinarySearchFunc(s.missing, r.Offset, func(m storage.Range, offset int64) int {
		switch {
		case m.Offset < offset:
			return -1
		case m.Offset > offset:
			return 1
		}
		return 0
	})
	s.missing = slices.Insert(s.missing, at, r)
}
