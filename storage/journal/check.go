package journal

import (
	"context"
	"errors"
	"fmt"

	"github.com/esante-alsace/cigogne/storage"
)

// errReadOnly is the answer to an Append of a journal that is ReadOnly.
var errReadOnly = fmt.Errorf("%w: the journal is open for reading alone", storage.ErrUnsupported)

// probeBytes is how much Check writes to see whether the disk takes it.
const probeBytes = 64 << 10

// Check tells whether the journal can take an instance now: what was refused
// last for want of space would fit, and something became durable since the
// last Check, or a probe file could be written, fsynced and deleted. Errors wrap storage.ErrFull or storage.ErrUnavailable.
func (j *Journal) Check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j.mu.Lock()
	alive := j.alive && j.failed == nil
	j.alive = false
	err := j.ready()
	j.mu.Unlock()
	if err != nil || alive {
		return err
	}
	return diskError("the journal's probe", j.probe())
}

// ready makes sure of a segment to write to; mu is held.
func (j *Journal) ready() error {
	if j.closed {
		return ErrClosed
	}
	if j.o.ReadOnly {
		return errReadOnly
	}
	if err := j.reserve(max(probeBytes, j.refused)); err != nil {
		return err
	}
	j.refused = 0
	return j.activate()
}

func (j *Journal) probe() error {
	name := j.largePath(random()) // deleted by Open, should a crash leave it
	f, err := j.fs.Create(name)
	if err != nil {
		return err
	}
	err = f.WriteVAt([][]byte{make([]byte, probeBytes)}, 0)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(closeAfter(f, err), j.fs.Remove(name))
}

// Reaches tells whether an entry that was durable once at a position is here,
// or was removed with its segment. It is false for a journal that is older than
// who knows the position: what it took next would lie where other entries did.
// What is damaged may have reached anywhere.
func (j *Journal) Reaches(at Position) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.find(at.Segment)
	if s == nil {
		return at.Segment <= j.highest
	}
	return len(s.damage) > 0 || s.entries > 0 && s.last >= at.Offset
}
