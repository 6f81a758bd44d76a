package main

import (
	"context"
	"errors"
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

// sweepUploads gives back what uploads that never ended have left in the
// archives, until ctx ends. It begins when the node has settled in.
func (n *node) sweepUploads(ctx context.Context) error {
	for wait := uploadsFirst; ; wait = uploadsLook {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
		for _, a := range n.archives.each {
			if up, ok := a.(uploads); ok {
				n.sweepOne(ctx, a.String(), up)
			}
		}
	}
}

func (n *node) sweepOne(ctx context.Context, name string, a uploads) {
	switch swept, err := a.Sweep(ctx, time.Now().Add(-uploadAge)); {
	case err != nil && !errors.Is(err, context.Canceled):
		n.log.Warn("uploads that never ended cannot be looked for now", "archive", name, "error", err)
	case swept > 0:
		n.log.Info("gave back what uploads that never ended had left", "archive", name, "uploads", swept)
	}
}
