package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/esante-alsace/cigogne/storage"
)

// Custody sends a request to a path of the gateway's deletions, holds and
// retention, which lie beside its DICOMweb services, in the name of who, and
// reads what it answers into into.
func (c *Client) Custody(ctx context.Context, method, resource string, query url.Values, who string, into any) error {
	return c.change(ctx, method, strings.TrimSuffix(c.root, "/dicom-web")+"/custody"+resource, query, who, into)
}

// Delete takes a study, or a series of it, out of sight, in the name of who,
// and reads the deletion into into. One that was deleted before, and is not
// removed yet, reads nothing.
func (c *Client) Delete(ctx context.Context, resource string, query url.Values, who string, into any) error {
	return c.change(ctx, http.MethodDelete, c.root+resource, query, who, into)
}

func (c *Client) change(ctx context.Context, method, resource string, query url.Values, who string, into any) error {
	ctx, w := c.watch(ctx)
	defer w.end()
	if len(query) > 0 {
		resource += "?" + query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, method, resource, nil)
	if err != nil {
		return fmt.Errorf("%w: %w", storage.ErrInvalid, err)
	}
	if who != "" {
		r.Header.Set("From", who)
	}
	res, err := c.http.Do(r)
	if err != nil {
		return unavailable(err)
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK, http.StatusAccepted:
	case http.StatusNoContent:
		return nil
	default:
		return refusal(res)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(io.LimitReader(res.Body, maxAnswer)); err != nil {
		return unavailable(err)
	}
	if err := json.Unmarshal(b.Bytes(), into); err != nil {
		return fmt.Errorf("%w: the answer to %s: %w", storage.ErrInvalid, method, err)
	}
	return nil
}
