package ops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/esante-alsace/cigogne/storage"
)

// Remote are Peers that answer at ReportPath.
type Remote struct {
	// Others are their ids.
	Others func() []string
	// Client calls one of them, whatever the host in the URL.
	Client func(node string) (*http.Client, error)
}

// Names implements Peers.
func (p Remote) Names() []string { return p.Others() }

// Reach implements Peers. A node of a version that does not know the page
// is reached, too.
func (p Remote) Reach(ctx context.Context, node string) error {
	r, err := p.ask(ctx, http.MethodHead, node)
	if err != nil {
		return err
	}
	return r.Body.Close()
}

// reportMost bounds a report in bytes.
const reportMost = 4 << 20

// Report implements Peers.
func (p Remote) Report(ctx context.Context, node string) (report Report, err error) {
	r, err := p.ask(ctx, http.MethodGet, node)
	if err != nil {
		return report, err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return report, fmt.Errorf("%w: node %s: %s", storage.ErrUnavailable, node, r.Status)
	}
	if err := json.NewDecoder(io.LimitReader(r.Body, reportMost)).Decode(&report); err != nil {
		return report, fmt.Errorf("%w: node %s: %w", storage.ErrUnavailable, node, err)
	}
	return report, nil
}

func (p Remote) ask(ctx context.Context, method, node string) (*http.Response, error) {
	client, err := p.Client(node)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+node+ReportPath, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", storage.ErrInvalid, err)
	}
	r, err := client.Do(req)
	if err != nil {
		client.CloseIdleConnections() // others that are kept may have died with it
		var call *url.Error
		if errors.As(err, &call) {
			err = call.Err // who was asked what is known
		}
		return nil, err
	}
	return r, nil
}
