package set

import (
	"context"
	"fmt"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/sound"
)

// mostHanging bounds the calls that an archive does not return from though
// nobody wants their answer any more: beyond, it is not asked. From someHanging
// on it is asked after the others: those that are let go of return at once.
const mostHanging, someHanging = 16, 4

// comparePace is the bytes a second at which a busy folder compares.
const comparePace = 32 << 20

// hedge tells for how long a member is waited for alone: longer, where it reads
// all of an entry before its first byte.
func (r *reader) hedge(m *member) time.Duration {
	if !r.compares(m) || r.sum.Length > sound.AtOnce {
		return r.set.o.Hedge
	}
	return r.set.o.Hedge + time.Duration(r.sum.Length)*time.Second/comparePace
}

func (r *reader) compares(m *member) bool { return r.sum != nil && archive.Compares(m.Archive) }

// dismiss lets go of the members that were outrun: they may be asked again. The
// reader does not wait for them: of a folder whose server is gone they may not
// return before that is back. One that was asked before the one that answered is
// slow, and is asked later the next time. Of one that compares that is said only
// when it does not even end, as a folder that hangs: another has less to do for
// its first byte.
func (r *reader) dismiss(answers chan *source, waiting map[*source]bool) {
	if len(waiting) == 0 {
		return
	}
	ctx, won := context.WithoutCancel(r.ctx), r.now
	outrun := func(s *source) {
		if won != nil && s.turn < won.turn {
			r.set.note(ctx, s.member, fmt.Errorf("read %q: %w: %s was outrun by %s", r.key, storage.ErrUnavailable, s, won))
		}
	}
	for s := range waiting {
		s.cancel()
		s.hanging.Add(1)
		r.asked[s.at] = false
		if !r.compares(s.member) {
			outrun(s)
		}
	}
	r.set.dismissed.Go(func() {
		hangs := time.NewTimer(r.set.o.Hedge)
		defer hangs.Stop()
		for len(waiting) > 0 {
			select {
			case s := <-answers:
				delete(waiting, s)
				s.hanging.Add(-1)
				if s.err == nil {
					s.close()
				}
			case <-hangs.C:
				for s := range waiting {
					if r.compares(s.member) {
						outrun(s)
					}
				}
			}
		}
	})
}
