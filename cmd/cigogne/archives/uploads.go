package archives

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// Uploads that a crash or an outage left half done cost space and are not to
// be seen: those older than uploadAge are given back, looked for so often.
const (
	uploadAge    = 24 * time.Hour
	uploadsFirst = time.Minute
	uploadsLook  = 6 * time.Hour
)

// uploads is an archive in which uploads can be left half done.
type uploads interface {
	Sweep(ctx context.Context, before time.Time) (int, error)
}

// SweepUploads gives back what uploads that never ended have left in the
// archives, until ctx ends. It begins when the node has settled in.
func (a *Archives) SweepUploads(ctx context.Context, log *slog.Logger) error {
	for wait := uploadsFirst; ; wait = uploadsLook {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
		for _, one := range a.Each {
			if up, ok := one.(uploads); ok {
				sweep(ctx, one.String(), up, log)
			}
		}
	}
}

func sweep(ctx context.Context, name string, a uploads, log *slog.Logger) {
	switch swept, err := a.Sweep(ctx, time.Now().Add(-uploadAge)); {
	case err != nil && !errors.Is(err, context.Canceled):
		log.Warn("uploads that never ended cannot be looked for now", "archive", name, "error", err)
	case swept > 0:
		log.Info("gave back what uploads that never ended had left", "archive", name, "uploads", swept)
	}
}
