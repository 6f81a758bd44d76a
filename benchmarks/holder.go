package benchmarks

import (
	"cmp"
	"context"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/esante-alsace/cigogne/benchmarks/subject"
)

// holder is a subject that runs, with its directory.
type holder struct {
	running *subject.Running
	dir     string
}

// holderOf is the subject of a case, started unless it is shared and runs.
func (r *Runner) holderOf(ctx context.Context, w Workload, c Case) (holder, error) {
	if h, ok := r.shared[c.Shared]; ok && c.Shared != nil {
		return h, nil
	}
	h, err := r.startOne(ctx, w, c)
	if err == nil && c.Shared != nil {
		if r.shared == nil {
			r.shared = map[any]holder{}
		}
		r.shared[c.Shared] = h
	}
	return h, err
}

func (r *Runner) startOne(ctx context.Context, w Workload, c Case) (holder, error) {
	dir, err := os.MkdirTemp(r.Scratch, w.Name+"-"+strings.ReplaceAll(c.Subject.Name(), " ", "-")+"-")
	if err != nil {
		return holder{}, err
	}
	if c.Before != nil {
		if err := c.Before(ctx, dir); err != nil {
			os.RemoveAll(dir)
			return holder{}, err
		}
	}
	running, err := c.Subject.Start(ctx, dir, cmp.Or(c.Host, "127.0.0.1"))
	if err == nil && c.Fill != nil {
		if err = c.Fill(ctx, running.Endpoints); err != nil {
			running.Stop()
		}
	}
	if err != nil {
		os.RemoveAll(dir)
		return holder{}, err
	}
	r.quiet(ctx, running)
	return holder{running, dir}, nil
}

// Close stops what was shared by the workloads that were run.
func (r *Runner) Close() { r.stopUnshared(Workload{}) }

// stopUnshared stops what a workload does not share with those before it.
func (r *Runner) stopUnshared(w Workload) {
	var over []holder
	for key, h := range r.shared {
		if !slices.ContainsFunc(w.Cases, func(c Case) bool { return c.Shared == key }) {
			over = append(over, h)
			delete(r.shared, key)
		}
	}
	stop(over)
}

// stop stops them side by side, then removes what they have kept.
func stop(all []holder) {
	var stops sync.WaitGroup
	for _, h := range all {
		stops.Go(h.running.Stop)
	}
	stops.Wait()
	for _, h := range all {
		os.RemoveAll(h.dir)
	}
}
