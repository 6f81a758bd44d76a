package client

import (
	"context"
	"net/url"
	"strings"
)

// Publications sends a request to a path of what becomes of publications,
// which lies beside the gateway's DICOMweb services, in the name of who, and
// reads what it answers into into.
func (c *Client) Publications(ctx context.Context, method, resource string, query url.Values, who string, into any) error {
	return c.change(ctx, method, strings.TrimSuffix(c.root, "/dicom-web")+"/publications"+resource, query, who, into)
}
