package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/esante-alsace/cigogne/storage"
)

// Receipt is what became of one part of a Store request.
type Receipt struct {
	// Digest is that of the Data Set that is durable now, zero when the part
	// was refused.
	Digest storage.Digest
	// Present: it was before.
	Present bool
	// Aside: it is durable, but another Data Set has its name.
	Aside bool
	// Refused says in words why it was.
	Refused string
	// Again: it was refused because there is no room for it now.
	Again bool
}

// Receipts are those of a request, by the number of the part. A part that has
// none may be durable or not.
type Receipts map[int]Receipt

// Store sends a multipart body (PS3.18 §10.5) with this boundary. Body is
// read by another goroutine, which may go on when Store returns, until it
// closes Body. An error tells that the request was not taken as a whole; the
// receipts are then of parts that are durable nevertheless.
func (c *Client) Store(ctx context.Context, boundary string, body io.ReadCloser) (Receipts, error) {
	ctx, w := c.watch(ctx)
	defer w.end()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.root+"/studies", sent{body, w})
	if err != nil {
		body.Close()
		return nil, err
	}
	r.Header.Set("Content-Type", `multipart/related; type="application/dicom"; boundary=`+boundary)
	r.Header.Set("Accept", "application/dicom+json")
	r.Header.Set("Cigogne-Receipts", "1")
	res, err := c.http.Do(r)
	if err != nil {
		return nil, unavailable(err)
	}
	defer res.Body.Close()
	all, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, unavailable(err)
	}
	switch receipts, err := readReceipts(all); {
	case res.StatusCode == http.StatusOK, res.StatusCode == http.StatusAccepted, res.StatusCode == http.StatusConflict:
		return receipts, err
	case err == nil && len(receipts) > 0:
		return refusedAll(receipts, res)
	}
	res.Body = io.NopCloser(bytes.NewReader(all))
	return nil, refusal(res)
}

// refusedAll reads an answer that is an error and has receipts: all parts were
// refused for one reason, or the body broke off. Then nobody knows whether a
// part was refused for what it is.
func refusedAll(receipts Receipts, res *http.Response) (Receipts, error) {
	why := res.Header.Get("Warning")
	for i, one := range receipts {
		if res.StatusCode == http.StatusRequestEntityTooLarge && why == "" {
			one.Again = false // no instance becomes shorter
			receipts[i] = one
		}
		if one.Refused != "" && (why != "" || one.Again) {
			delete(receipts, i)
		}
	}
	if why == "" && len(receipts) > 0 {
		return receipts, nil
	}
	return receipts, &Refusal{Status: res.StatusCode, Text: why, RetryAfter: retryAfter(res.Header)}
}

// value is a DICOM JSON attribute, as far as an answer needs it.
type value[T any] struct{ Value []T }

func (v value[T]) first() (first T) {
	if len(v.Value) > 0 {
		first = v.Value[0]
	}
	return first
}

// item is an instance in the answer to a Store request.
type item struct {
	FailureReason value[int]            `json:"00081197"`
	WarningReason value[int]            `json:"00081196"`
	Creator       value[string]         `json:"00090010"`
	Part          value[int]            `json:"00091001"`
	Digest        value[storage.Digest] `json:"00091005"`
	Text          value[string]         `json:"00091003"`
	Standing      value[string]         `json:"00091004"`
}

// outOfResources is the FailureReason of what may be tried again (PS3.4
// §B.2.3).
const outOfResources = 0xA700

func readReceipts(body []byte) (Receipts, error) {
	var answer struct {
		Failed value[item] `json:"00081198"`
		Stored value[item] `json:"00081199"`
		Other  value[item] `json:"0008119A"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("%w: the server does not answer as a Cigogne does: %w", storage.ErrUnsupported, err)
	}
	receipts := make(Receipts)
	for _, in := range answer.Stored.Value {
		receipts[in.Part.first()] = Receipt{
			Digest: in.Digest.first(), Present: in.Standing.first() == "DUPLICATE", Aside: in.WarningReason.first() != 0,
		}
	}
	for _, in := range append(answer.Failed.Value, answer.Other.Value...) {
		reason := in.FailureReason.first()
		text := in.Text.first()
		if text == "" {
			text = fmt.Sprintf("the gateway gives the reason %04X", reason)
		}
		receipts[in.Part.first()] = Receipt{Refused: text, Again: reason == outOfResources}
	}
	for _, in := range append(append(answer.Stored.Value, answer.Failed.Value...), answer.Other.Value...) {
		if in.Creator.first() != "CIGOGNE" {
			return nil, fmt.Errorf("%w: the server gives no receipts: it is no Cigogne", storage.ErrUnsupported)
		}
	}
	for _, in := range answer.Stored.Value {
		if in.Digest.first() == (storage.Digest{}) {
			return nil, errNoDigests
		}
	}
	return receipts, nil
}
