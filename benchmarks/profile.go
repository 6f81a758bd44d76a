package benchmarks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/pprof/profile"

	"github.com/esante-alsace/cigogne/benchmarks/cost"
)

// profileTime is how long the processor profile of a workload covers.
const profileTime = 10 * time.Second

// profile has the case do more rounds while its profiles are taken.
func (r *Runner) profile(ctx context.Context, w Workload, c *contender) error {
	at := c.running.Pprof
	if r.Profiles == "" || at == "" {
		return nil
	}
	dir := filepath.Join(r.Profiles, w.Name+"-"+strings.ReplaceAll(c.Subject.Name(), " ", "-"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	cpu := make(chan error, 1)
	go func() {
		cpu <- fetch(ctx, fmt.Sprintf("%s/profile?seconds=%d", at, int(profileTime.Seconds())), filepath.Join(dir, "cpu"))
	}()
	var err error
	for n, done := 0, false; !done; n++ {
		if err == nil {
			err = r.drive(ctx, w, c, n)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("driving: %w", err), <-cpu)
		}
		select {
		case err = <-cpu:
			done = true
		default:
		}
	}
	if err != nil {
		return err
	}
	for _, kind := range []string{"allocs", "mutex", "block"} {
		if err := fetch(ctx, at+"/"+kind, filepath.Join(dir, kind)); err != nil {
			return err
		}
	}
	return r.costs(w, filepath.Join(dir, "cpu"))
}

// profileRounds numbers the rounds that are driven for profiles, far from
// those that are measured.
const profileRounds = 1000

func (r *Runner) drive(ctx context.Context, w Workload, c *contender, n int) error {
	series, err := r.material(w, w.Amount, profileRounds+n)
	if err != nil {
		return err
	}
	if series != nil {
		defer series.Remove() //nolint:errcheck // the scratch directory goes at the end
	}
	rd := Round{At: c.running.Endpoints, Series: series, Amount: w.Amount}
	if c.Prepare != nil {
		if err := c.Prepare(ctx, rd); err != nil {
			return err
		}
	}
	_, err = c.Drive(ctx, rd)
	return err
}

func fetch(ctx context.Context, url, path string) error {
	rq, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	rsp, err := http.DefaultClient.Do(rq)
	if err != nil {
		return err
	}
	defer rsp.Body.Close()
	if rsp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, rsp.Status)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(f, rsp.Body)
	return err
}

// mostCosts are how many kinds of work are told of a profile.
const mostCosts = 6

// costs says what takes most of the processor time of a profile.
func (r *Runner) costs(w Workload, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	p, err := profile.Parse(f)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	all := cost.Shares(p)
	said := make([]string, 0, mostCosts)
	for _, s := range all[:min(mostCosts, len(all))] {
		said = append(said, s.String())
	}
	r.Say("  processor time of %s: %s; see %s", w.Name, strings.Join(said, ", "), path)
	return nil
}
