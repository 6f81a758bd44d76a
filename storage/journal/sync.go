package journal

import (
	"fmt"
	"runtime"
	"time"
)

// sync is the one goroutine that makes entries durable. Only it calls fsync
// on a segment that has records: the kernel reports a failed write to one
// fsync alone, so two at the same time could take a loss for a success.
func (j *Journal) sync() {
	defer close(j.stopped)
	for range j.wake {
		for j.cycle() {
			j.gather()
		}
		if j.drained() {
			return
		}
	}
}

// gatherBytes is how much is worth an fsync without looking for company: then
// writing better goes on beside it.
const gatherBytes = 256 << 10

// gather lets the appenders that were just told of their success come with
// the next entry, so that they share the next fsync instead of every second
// one. It waits for nobody who is not ready to run.
func (j *Journal) gather() {
	for last := -1; ; {
		j.mu.Lock()
		n := len(j.pending)
		enough := j.active == nil || j.active.end-j.active.durable >= gatherBytes
		j.mu.Unlock()
		if n == last || enough {
			return
		}
		last = n
		runtime.Gosched()
	}
}

func (j *Journal) drained() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.closed && len(j.pending) == 0 && len(j.sealers) == 0
}

// cycle makes durable what is pending, then begins a new segment when the
// active one is full or is to be sealed. It tells whether there was work.
func (j *Journal) cycle() bool {
	j.mu.Lock()
	s, batch, sealers := j.active, j.pending, j.sealers
	j.pending, j.sealers = nil, nil
	var end int64
	if s != nil {
		end = s.end
	}
	j.mu.Unlock()

	if len(batch) > 0 {
		start := time.Now()
		err := s.file.Sync()
		took := time.Since(start)
		j.mu.Lock()
		batch = j.settle(s, batch, end, took, err)
		j.mu.Unlock()
		j.deliver(batch, took, err)
	}
	if j.due(len(sealers) > 0) {
		j.roll()
	}
	for _, done := range sealers {
		close(done)
	}
	return len(batch) > 0 || len(sealers) > 0
}

func (j *Journal) due(asked bool) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.active != nil && j.active.end > segmentHeaderSize && (asked || j.active.full(j.o))
}

// roll seals the active segment and begins the next. Nothing is appended
// meanwhile: the next segment says where this one ended, so that must be
// durable first.
func (j *Journal) roll() {
	j.mu.Lock()
	s, batch := j.active, j.pending
	j.pending = nil
	var err error
	var took time.Duration
	if len(batch) > 0 {
		start := time.Now()
		err = s.file.Sync()
		took = time.Since(start)
		batch = j.settle(s, batch, s.end, took, err)
	}
	if err == nil {
		s.seal(s.end, j.o)
		j.active = nil
		if aerr := j.activate(); aerr != nil {
			j.failed = aerr
			j.o.Logger.Warn("journal could not begin a segment; the next instance tries again", "err", aerr)
		}
		j.changes()
	}
	j.mu.Unlock()
	if len(batch) > 0 {
		j.deliver(batch, took, err)
	}
}

// settle notes the outcome of a fsync; mu is held. It returns the entries that
// share it: after an error also those written since, because the segment is
// given up: a second fsync would succeed without having written the bytes.
func (j *Journal) settle(s *segment, batch []*Pending, end int64, took time.Duration, err error) []*Pending {
	j.stats.Fsyncs++
	j.stats.FsyncTime += took
	if err != nil {
		batch = append(batch, j.pending...)
		j.pending = nil
		s.seal(s.durable, j.o)
		j.active = nil
		j.changes()
		j.stats.Poisoned++
		j.failed = diskError("making the journal durable", err)
		j.o.Logger.Error("journal segment given up: the disk failed; its instances were refused",
			"segment", s.number, "offset", s.durable, "refused", len(batch), "err", err)
		return batch
	}
	s.durable = end
	j.failed, j.alive = nil, true
	j.stats.Entries += uint64(len(batch))
	for _, p := range batch {
		if p.big == nil {
			s.add(p.entry.Position.Offset, 0, 0)
			continue
		}
		s.add(p.entry.Position.Offset, p.big.id, p.big.size)
		j.largeNow -= p.big.size
	}
	return batch
}

// deliver tells everyone the outcome.
func (j *Journal) deliver(batch []*Pending, took time.Duration, err error) {
	if err != nil {
		err = fmt.Errorf("the entry is not durable: %w", diskError("making the journal durable", err))
		for _, p := range batch {
			if p.big != nil {
				p.big.discard()
			}
			p.entry, p.err = Entry{}, err
		}
	} else {
		if j.o.Synced != nil {
			j.o.Synced(len(batch), took)
		}
		if j.o.Durable != nil {
			entries := make([]Entry, len(batch))
			for i, p := range batch {
				entries[i] = p.entry
			}
			j.o.Durable(entries)
		}
	}
	for _, p := range batch {
		close(p.done)
		<-j.slots
	}
}
