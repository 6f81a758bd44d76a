package s3

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// call makes one kind of request until it succeeds, its failure is final, or
// the attempts are used up. Each attempt has the time that handling bytes at
// the least rate takes on top of the timeout.
func (a *Archive) call(ctx context.Context, doing, key string, bytes int64, f func(context.Context) error) error {
	limit := a.allowance(bytes)
	return a.retry(ctx, doing, key, func() error {
		return a.attempt(ctx, doing, limit, func(ctx context.Context, _ *time.Timer) error { return f(ctx) })
	})
}

// callSending is call for requests with a body: an attempt ends when no byte
// of it is taken, and no answer comes, for the timeout.
func (a *Archive) callSending(ctx context.Context, doing, key string, bytes int64, f func(context.Context, func()) error) error {
	return a.retry(ctx, doing, key, func() error {
		within, cancel := context.WithTimeoutCause(ctx, a.allowance(bytes), errSilent)
		defer cancel()
		return a.attempt(within, doing, a.o.Timeout, func(ctx context.Context, silence *time.Timer) error {
			return f(ctx, func() { silence.Reset(a.o.Timeout) })
		})
	})
}

// attempt makes one request, which the timer that it is given ends.
func (a *Archive) attempt(ctx context.Context, doing string, limit time.Duration, f func(context.Context, *time.Timer) error) error {
	within, cancel := context.WithCancelCause(ctx)
	defer cancel(context.Canceled)
	timer := time.AfterFunc(limit, func() { cancel(errSilent) })
	defer timer.Stop()
	began := time.Now()
	err := f(within, timer)
	a.observe(doing, began, err)
	if err != nil && errors.Is(context.Cause(within), errSilent) {
		return errSilent
	}
	return err
}

// allowance is the time in which so many bytes must have been transferred.
func (a *Archive) allowance(bytes int64) time.Duration {
	return a.o.Timeout + time.Duration(bytes/leastRate)*time.Second
}

// retry runs f until it succeeds or fails for good, and explains its failure.
func (a *Archive) retry(ctx context.Context, doing, key string, f func() error) error {
	for attempt := 1; ; attempt++ {
		err := f()
		if err == nil {
			return nil
		}
		if gone := ended(ctx, doing, key); gone != nil {
			return gone
		}
		err, again := explain(doing, key, err)
		if !again || attempt >= a.o.Attempts {
			return err
		}
		if a.pause(ctx, attempt) != nil {
			return ended(ctx, doing, key)
		}
	}
}

// pause waits before the attempt that follows the given one, the longer the
// more there were, and not all who failed together for the same time.
func (a *Archive) pause(ctx context.Context, attempt int) error {
	most := min(a.o.Pause<<min(attempt-1, 10), 50*a.o.Pause)
	timer := time.NewTimer(most - rand.N(most/2+1))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *Archive) observe(doing string, began time.Time, err error) {
	if a.o.Observe != nil {
		a.o.Observe(doing, time.Since(began), err)
	}
}
