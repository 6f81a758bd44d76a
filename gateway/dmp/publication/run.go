package publication

import (
	"context"
	"errors"
	"time"
)

// How often the index is asked what is due: asking costs it nothing to speak
// of.
const (
	passEvery  = time.Second
	retryMost  = time.Minute
	retryLeast = passEvery
)

// Run decides and makes until ctx ends. What fails is tried again, ever more
// seldom.
func (p *Publisher) Run(ctx context.Context) error {
	wait := retryLeast
	for {
		err := p.Pass(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			p.o.Logger.Warn("not every complete study has its manifest, will try again", "in", wait, "error", err)
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
		if err != nil {
			wait = min(2*wait, retryMost)
		} else {
			wait = retryLeast
		}
	}
}

// Pass does what is due now. It does what it can and returns what failed.
func (p *Publisher) Pass(ctx context.Context) error {
	return errors.Join(p.completeQuiet(ctx), p.makeOwed(ctx))
}
