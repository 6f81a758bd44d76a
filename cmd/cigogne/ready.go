package main

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/esante-alsace/cigogne/gateway/rpc"
)

// check is one line of /readyz.
type check struct {
	Name  string `json:"name"`
	Ready bool   `json:"ready"`
	Why   string `json:"why,omitempty"`
}

// readyTimeout bounds what a readiness check may wait for.
const readyTimeout = 3 * time.Second

// ready checks that the node can take and give instances now.
func (n *node) ready(ctx context.Context) []rpc.Check {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	checks := []rpc.Check{{Name: "journal"}, {Name: "index"}, {Name: "archive"}}
	errs := []error{n.journal.Check(ctx), n.indexReady(ctx), n.archives.Check(ctx)}
	if n.cluster != nil {
		checks = append(checks, rpc.Check{Name: "cluster"}, rpc.Check{Name: "copies"})
		errs = append(errs, n.clusterReady(ctx), n.copying.keeper.Failing())
	}
	for i, err := range errs {
		checks[i].Err = err
	}
	return checks
}

func (n *node) indexReady(ctx context.Context) error {
	if err := cmp.Or(n.indexer.Failing(), n.index.Failing()); err != nil {
		return err
	}
	return n.indexer.AwaitOwn(ctx)
}

func (n *node) readyz(w http.ResponseWriter, r *http.Request) {
	status, checks := http.StatusOK, []check{}
	for _, c := range n.report.Checks(r.Context()) {
		line := check{Name: c.Name, Ready: c.Err == nil}
		if c.Err != nil {
			status, line.Why = http.StatusServiceUnavailable, c.Err.Error()
		}
		checks = append(checks, line)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"ready": status == http.StatusOK, "checks": checks}) //nolint:errcheck // the client has gone
}
