package main

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"github.com/esante-alsace/cigogne/gateway"
)

// serve works until ctx ends, then drains: transports first, stores after.
func (n *node) serve(ctx context.Context) error {
	stores, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	back := n.runBehind(stores)
	front, fctx := errgroup.WithContext(ctx)
	front.Go(func() error { return n.serveDIMSE(fctx) })
	front.Go(func() error { return n.serveWeb(fctx) })
	front.Go(func() error { return n.resign(fctx) })
	if n.copying != nil {
		front.Go(func() error { return n.watchJournal(fctx) })
	}
	if n.config.Pprof != "" {
		front.Go(func() error { return serveProfiles(fctx, n.config.Pprof, n.log) })
	}
	err := front.Wait()
	stop()
	if berr := back.Wait(); err == nil && !errors.Is(berr, context.Canceled) {
		err = berr
	}
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return err
}

// runBehind runs what works behind the transports, until ctx ends.
func (n *node) runBehind(ctx context.Context) *errgroup.Group {
	back := new(errgroup.Group)
	back.Go(func() error { return n.indexer.Run(ctx) })
	back.Go(func() error { return n.identities.Run(ctx) })
	back.Go(func() error { return n.archiver.Run(ctx) })
	back.Go(func() error {
		return n.onDuty(ctx, func(ctx context.Context) error { return n.archives.SweepUploads(ctx, n.log) })
	})
	back.Go(func() error { return n.onDuty(ctx, n.sweeper.Run) })
	back.Go(func() error { return n.publish(ctx) })
	back.Go(func() error { return n.onDuty(ctx, n.committer.Run) })
	back.Go(func() error { return n.sweeper.Watch(ctx) })
	back.Go(func() error { return n.report.run(ctx) })
	back.Go(func() error { return n.desk.Run(ctx) })
	back.Go(func() error { return n.disk.Run(ctx) })
	back.Go(func() error { return n.recall(ctx) })
	if n.copying != nil {
		n.runCopies(ctx, back)
	}
	back.Go(func() error { return n.sent.Run(ctx) })
	if several, ok := n.archives.Archive.(gateway.Copier); ok {
		r := gateway.NewRepairer(n.index, n.proposer, several, n.archives.Each, n.log)
		back.Go(func() error { return n.onDuty(ctx, r.Run) })
	}
	if n.scrubber != nil {
		back.Go(func() error { return n.onDuty(ctx, n.scrubber.Run) })
	}
	return back
}

// close gives back what openNode opened; what was not opened is skipped.
func (n *node) close() {
	var errs []error
	if n.dimse != nil {
		n.dimse.Close() // closed already when it has served
	}
	if n.http != nil {
		n.http.Close()
	}
	if n.rpc != nil {
		n.rpc.Close()
	}
	if n.cluster != nil {
		errs = append(errs, n.cluster.close())
	}
	if n.copying != nil {
		errs = append(errs, n.copying.close())
	}
	if n.journal != nil {
		errs = append(errs, n.journal.Close())
	}
	if n.index != nil {
		errs = append(errs, n.index.Close())
	}
	if n.archives != nil {
		n.archives.Close()
	}
	errs = append(errs, n.spans.Close())
	if err := errors.Join(errs...); err != nil {
		n.log.Error("the stores did not close well", "error", err)
	}
}
