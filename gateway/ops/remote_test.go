package ops_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/gateway/ops"
	"github.com/esante-alsace/cigogne/storage"
)

// TestRemote: a node that answers is reached, whatever it answers; what is no
// report is none.
func TestRemote(t *testing.T) {
	answer := func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != ops.ReportPath || r.Host == "older":
			http.NotFound(w, r)
		case r.Host == "odd":
			io.WriteString(w, "<html>")
		default:
			io.WriteString(w, `{"node":"n2"}`)
		}
	}
	server := httptest.NewServer(http.HandlerFunc(answer))
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
	}}}
	peers := ops.Remote{Others: func() []string { return []string{"n2"} }, Client: func(node string) (*http.Client, error) {
		if node == "stranger" {
			return nil, storage.ErrUnavailable
		}
		return client, nil
	}}
	for node, want := range map[string]struct{ reached, reports bool }{
		"n2": {true, true}, "older": {true, false}, "odd": {true, false}, "stranger": {false, false},
	} {
		if err := peers.Reach(t.Context(), node); (err == nil) != want.reached {
			t.Errorf("reaching %s: %v", node, err)
		}
		report, err := peers.Report(t.Context(), node)
		if (err == nil) != want.reports || (report.Node == "n2") != want.reports || err != nil && !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("report of %s: %+v, %v", node, report, err)
		}
	}
	server.Close()
	if err := peers.Reach(t.Context(), "n2"); err == nil || strings.Contains(err.Error(), ops.ReportPath) {
		t.Errorf("a node that is gone: %v", err)
	}
}
