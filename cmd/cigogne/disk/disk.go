// Package disk tells how much space a disk has, and when there will be none if
// it goes on as it does.
package disk

import (
	"context"
	"sync"
	"time"
)

// State is how the disk on which the journal lies is.
type State struct {
	Size, Free int64 // bytes; 0 and 0 when it cannot be told
	// Full is when there will be no space if it goes on as in the last hours;
	// zero when there is no telling, or it does not get less.
	Full time.Time
	// JournalFull is likewise when the journal will be at its limit.
	JournalFull time.Time
}

const (
	// trendEvery is how often the free space is noted, trendMost how many
	// notes a trend has, and trendLeast how many it takes to tell.
	trendEvery = time.Minute
	trendMost  = 6 * 60
	trendLeast = 10
	// trendFar is how far ahead a trend is believed.
	trendFar = 90 * 24 * time.Hour
)

// Watch notes how the space on a disk develops, and that in the journal.
type Watch struct {
	dir  string
	left func() int64 // nil for no limit

	mu             sync.Mutex
	trend, journal trend
}

// NewWatch returns a Watch of the disk on which dir lies. left tells how many
// bytes the journal may still take; nil is for no limit but the disk's.
func NewWatch(dir string, left func() int64) *Watch { return &Watch{dir: dir, left: left} }

// Run notes until ctx ends.
func (w *Watch) Run(ctx context.Context) error {
	tick := time.NewTicker(trendEvery)
	defer tick.Stop()
	for {
		if size, free := Space(w.dir); size > 0 {
			w.mu.Lock()
			w.trend.add(time.Now(), free)
			w.mu.Unlock()
		}
		if w.left != nil {
			left := w.left()
			w.mu.Lock()
			w.journal.add(time.Now(), left)
			w.mu.Unlock()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// Now is how the disk is.
func (w *Watch) Now() State {
	size, free := Space(w.dir)
	w.mu.Lock()
	defer w.mu.Unlock()
	d := State{Size: size, Free: free, Full: w.trend.zero(time.Now(), free)}
	if w.left != nil {
		d.JournalFull = w.journal.zero(time.Now(), max(w.left(), 0))
	}
	return d
}

// trend is a straight line through what was noted last.
type trend struct{ notes []note }

type note struct {
	at    time.Time
	value int64
}

func (t *trend) add(at time.Time, value int64) {
	if len(t.notes) == trendMost {
		t.notes = append(t.notes[:0], t.notes[1:]...)
	}
	t.notes = append(t.notes, note{at, value})
}

// zero is when a value that is what it is now will be 0 at the slope of the
// line, which is that of least squares.
func (t *trend) zero(now time.Time, value int64) time.Time {
	if len(t.notes) < trendLeast {
		return time.Time{}
	}
	var x, y float64
	n := float64(len(t.notes))
	for _, s := range t.notes {
		x += now.Sub(s.at).Seconds() / n
		y += float64(s.value) / n
	}
	var above, below float64
	for _, s := range t.notes {
		dx := now.Sub(s.at).Seconds() - x
		above += dx * (float64(s.value) - y)
		below += dx * dx
	}
	lost := above / below // bytes a second; time runs backwards here
	if below == 0 || lost <= 0 || float64(value)/lost > trendFar.Seconds() {
		return time.Time{}
	}
	return now.Add(time.Duration(float64(value) / lost * float64(time.Second)))
}
