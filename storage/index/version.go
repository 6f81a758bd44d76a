package index

import (
	"hash/maphash"
	"reflect"
	"sync/atomic"
)

// stripes is how many counters the studies share.
const stripes = 4096

// versions count the changes of where instances lie. Studies share counters,
// so that they take no memory: what is counted for one of them is a change
// that another did not have, never the other way round.
type versions struct {
	seed maphash.Seed
	all  atomic.Uint64
	some [stripes]atomic.Uint64
}

func (v *versions) stripe(study string) *atomic.Uint64 {
	return &v.some[maphash.String(v.seed, study)%stripes]
}

// applied counts a batch. It comes after the commit, and before who applied the
// batch hears of it. What is not known to leave instances where they are, or
// to name the studies it touches, counts for all.
func (v *versions) applied(b Batch) {
	rest := b
	rest.Through, rest.Received = Position{}, nil
	rest.Stamp, rest.Notes, rest.Identities, rest.Protections = nil, nil, nil, nil
	rest.Commitments = nil
	if !reflect.ValueOf(rest).IsZero() {
		v.all.Add(1)
		return
	}
	last := ""
	for i := range b.Received {
		if study := b.Received[i].Key.StudyInstanceUID; study != last {
			v.stripe(study).Add(1)
			last = study
		}
	}
}

// Version counts what has changed of where the instances of a study lie, kept
// aside ones included. What Live and Packs tell after it was asked for holds
// as long as it is the same: nobody is told that a batch is applied, or the
// index replaced, before it counts. It is false for an index that others
// change.
func (x *Index) Version(studyInstanceUID string) (uint64, bool) {
	// Both only grow: the sum is the same only when both are.
	return x.versions.all.Load() + x.versions.stripe(studyInstanceUID).Load(), !x.o.ReadOnly
}
