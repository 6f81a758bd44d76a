// Package workload is the work that subjects are given, and who drives it.
package workload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/esante-alsace/cigogne/benchmarks"
	"github.com/esante-alsace/cigogne/benchmarks/material"
	"github.com/esante-alsace/cigogne/benchmarks/subject"
	"github.com/esante-alsace/cigogne/gateway/dimse"
)

// driver is benchmarks.Case.Drive.
type driver = func(context.Context, benchmarks.Round) (benchmarks.Work, error)

// together splits a round's instances among n senders, and times them.
func together(ctx context.Context, r benchmarks.Round, n int, send func(ctx context.Context, part []material.Instance) error) (benchmarks.Work, error) {
	parts := r.Series.Split(n)
	g, gctx := errgroup.WithContext(ctx)
	began := time.Now()
	for _, part := range parts {
		g.Go(func() error { return send(gctx, part) })
	}
	err := g.Wait()
	return benchmarks.Work{Bytes: r.Series.Bytes(), Units: len(r.Series.Instances), Elapsed: time.Since(began)}, err
}

// storescu sends with DCMTK's storescu, one process for each association.
// With noDelay its own Nagle algorithm is off, which hardly any clinic knows.
func storescu(associations int, noDelay bool) driver {
	return storescuFrom(associations, noDelay, func(*exec.Cmd) {})
}

// storescuFrom is storescu with its processes moved elsewhere.
func storescuFrom(associations int, noDelay bool, move func(*exec.Cmd)) driver {
	return func(ctx context.Context, r benchmarks.Round) (benchmarks.Work, error) {
		path, err := exec.LookPath("storescu")
		if err != nil {
			return benchmarks.Work{}, fmt.Errorf("storescu: %w", subject.ErrMissing)
		}
		return together(ctx, r, associations, func(ctx context.Context, part []material.Instance) error {
			args, err := storescuArgs(r.At, part)
			if err != nil {
				return err
			}
			cmd := exec.CommandContext(ctx, path, args...)
			if noDelay {
				cmd.Env = append(os.Environ(), "TCP_NODELAY=1")
			}
			move(cmd)
			return runStorescu(cmd)
		})
	}
}

func storescuArgs(at subject.Endpoints, part []material.Instance) ([]string, error) {
	host, port, err := net.SplitHostPort(at.DIMSE)
	if err != nil {
		return nil, err
	}
	args := []string{"-aec", at.AETitle, host, port}
	for i := range part {
		args = append(args, part[i].Path)
	}
	return args, nil
}

// runStorescu looks at what it prints, for it ends with 0 also when an
// instance was refused.
func runStorescu(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err == nil && len(bytes.TrimSpace(out)) > 0 {
		err = errors.New("it complains")
	}
	if err != nil {
		return fmt.Errorf("storescu: %w: %s", err, out[:min(len(out), 500)])
	}
	return nil
}

// ourSCU sends with gateway/dimse, with so many operations in flight on each
// association.
func ourSCU(associations, window int) driver { return ourSCUOver(associations, window, nil) }

func ourSCUOver(associations, window int, d dialer) driver {
	return func(ctx context.Context, r benchmarks.Round) (benchmarks.Work, error) {
		return together(ctx, r, associations, func(ctx context.Context, part []material.Instance) error {
			return push(ctx, r.At, part, window, d)
		})
	}
}

func push(ctx context.Context, at subject.Endpoints, part []material.Instance, window int, d dialer) error {
	first := part[0]
	config := dimse.SCUConfig{
		CalledAETitle: at.AETitle, AsyncWindow: window,
		Contexts: []dimse.ProposedContext{{AbstractSyntax: first.SOPClassUID, TransferSyntaxes: []string{first.TransferSyntaxUID}}},
	}
	if d != nil {
		config.Dialer = d
	}
	a, err := dimse.Dial(ctx, at.DIMSE, config)
	if err != nil {
		return err
	}
	defer a.Abort()
	var next atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	for range min(max(window, 1), max(a.Window(), 1)) {
		g.Go(func() error {
			for i := next.Add(1) - 1; i < int64(len(part)); i = next.Add(1) - 1 {
				if err := storeOne(gctx, a, &part[i]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return a.Release(ctx)
}

func storeOne(ctx context.Context, a *dimse.Association, m *material.Instance) error {
	f, err := m.OpenDataSet()
	if err != nil {
		return err
	}
	defer f.Close()
	status, err := a.Store(ctx, dimse.StoreRequest{
		SOPClassUID: m.SOPClassUID, SOPInstanceUID: m.SOPInstanceUID, TransferSyntaxUID: m.TransferSyntaxUID, DataSet: f,
	})
	if err == nil && status.Failed() {
		err = fmt.Errorf("C-STORE of %s: %v", m.SOPInstanceUID, status)
	}
	return err
}
