// Package paced reads archives at a bounded rate, so that work that can wait
// leaves the line and the disks to work that cannot.
package paced

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
)

// piece is how much is let pass at once.
const piece = 256 << 10

// Limit lets so many bytes pass a second, for all archives that share it. It
// is made by NewLimit.
type Limit struct {
	rate int64

	mu   sync.Mutex
	free time.Time // when what was let pass has had its time
}

// NewLimit returns a limit of bytes a second; 0 and less are none.
func NewLimit(rate int64) *Limit { return &Limit{rate: rate} }

// wait returns when n bytes more have had their time.
func (l *Limit) wait(ctx context.Context, n int) error {
	if l.rate <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(l.reserve(time.Now(), n))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reserve takes the time that n bytes have, and tells how long it is until it
// is over.
func (l *Limit) reserve(now time.Time, n int) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(time.Duration(float64(n) / float64(l.rate) * float64(time.Second)))
	return l.free.Sub(now)
}

// Archive is an archive.Archive whose objects are read at a Limit's rate. All
// else is as with the archive itself.
type Archive struct {
	archive.Archive
	Limit *Limit
}

// Get implements archive.Archive.
func (a Archive) Get(ctx context.Context, key string, r storage.Range) (io.ReadCloser, error) {
	in, err := a.Archive.Get(ctx, key, r)
	if err != nil || a.Limit.rate <= 0 {
		return in, err
	}
	return &reader{ReadCloser: in, ctx: ctx, limit: a.Limit}, nil
}

type reader struct {
	io.ReadCloser
	ctx   context.Context //nolint:containedctx // Get's
	limit *Limit
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p[:min(len(p), piece)])
	if n > 0 {
		if gone := r.limit.wait(r.ctx, n); gone != nil {
			return n, gone
		}
	}
	return n, err
}
