package publication

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/esante-alsace/cigogne/storage/index"
)

const (
	answerMost     = 1 << 20 // bytes of an answer that are read
	retryAfterMost = time.Hour
)

// poster posts transactions.
type poster struct {
	endpoint string
	token    func() (string, error)
	client   *http.Client
}

func newPoster(o SenderOptions) poster {
	secure := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.TLS != nil {
		secure = o.TLS.Clone()
		secure.MinVersion = max(secure.MinVersion, tls.VersionTLS12)
	}
	return poster{endpoint: o.Endpoint, token: o.Token, client: &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: secure,
			MaxConnsPerHost: o.Parallel, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: o.Timeout,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// post sends a transaction of ITI-65 and tells what came of it, why, and how
// long the other side wants to be left alone.
func (p poster) post(ctx context.Context, act index.DeliveryAct, body []byte) (_ index.DeliveryResult, why string, wait time.Duration) {
	rq, err := http.NewRequestWithContext(ctx, http.MethodPost, p.endpoint, bytes.NewReader(body))
	if err != nil {
		return index.NotDelivered, err.Error(), 0
	}
	// Without it a request that got no answer might be sent again by the
	// library, of which the outbox would know nothing.
	rq.GetBody = nil
	rq.Header.Set("Content-Type", "application/fhir+json")
	rq.Header.Set("Accept", "application/fhir+json")
	if p.token != nil {
		token, err := p.token()
		if err != nil {
			return index.NotDelivered, err.Error(), 0
		}
		rq.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := p.client.Do(rq)
	var op *net.OpError
	switch {
	case errors.As(err, &op) && op.Op == "dial":
		return index.NotDelivered, err.Error(), 0
	case err != nil:
		return index.MaybeDelivered, err.Error(), 0
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(io.LimitReader(answer.Body, answerMost))
	result, why := judge(act, answer.StatusCode, said, err)
	if sent, got := entriesOf(body), entriesOf(said); result == index.Delivered && answer.StatusCode < 300 && got < sent {
		result, why = index.MaybeDelivered, fmt.Sprintf("%d of %d entries were answered", got, sent)
	}
	if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && seconds > 0 {
		wait = min(time.Duration(seconds)*time.Second, retryAfterMost)
	}
	return result, why, wait
}

// entriesOf counts the entries of a Bundle.
func entriesOf(bundle []byte) int {
	var b struct {
		Entry []struct{} `json:"entry"`
	}
	_ = json.Unmarshal(bundle, &b) // whether it is one was looked at
	return len(b.Entry)
}

// judge tells what an answer means.
func judge(act index.DeliveryAct, status int, said []byte, broken error) (index.DeliveryResult, string) {
	why := fmt.Sprintf("%d %s: %.300s", status, http.StatusText(status), strings.ToValidUTF8(string(said), ""))
	switch {
	case status >= 200 && status < 300 && broken != nil:
		return index.MaybeDelivered, "the answer broke off: " + broken.Error()
	case status >= 200 && status < 300:
		return judgeEntries(act, said)
	case act == index.Withdraw && nothingThere(status) && ofTheRecord(said):
		return index.Delivered, ""
	case status == http.StatusRequestTimeout || status >= 500:
		return index.MaybeDelivered, why
	}
	switch status {
	case http.StatusBadRequest, http.StatusConflict, http.StatusPreconditionFailed, http.StatusRequestEntityTooLarge,
		http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return index.DeliveryRefused, why
	}
	return index.NotDelivered, why // a redirection, or who we are is not accepted: a person sees to that
}

// nothingThere tells whether a status says that there is nothing to withdraw.
func nothingThere(status int) bool {
	return status == http.StatusNotFound || status == http.StatusGone || status == http.StatusPreconditionFailed
}

// ofTheRecord tells whether an answer that is none of success is that of a FHIR
// server. A proxy, or an endpoint that is written wrongly, answers 404 as well,
// and what is to be withdrawn stays where it is.
func ofTheRecord(said []byte) bool {
	var outcome struct {
		ResourceType string `json:"resourceType"`
	}
	return json.Unmarshal(said, &outcome) == nil && outcome.ResourceType == "OperationOutcome"
}

// judgeEntries reads a transaction-response: every entry must have been taken.
func judgeEntries(act index.DeliveryAct, said []byte) (index.DeliveryResult, string) {
	var b struct {
		ResourceType string `json:"resourceType"`
		Entry        []struct {
			Response struct {
				Status string `json:"status"`
			} `json:"response"`
		} `json:"entry"`
	}
	if err := json.Unmarshal(said, &b); err != nil || b.ResourceType != "Bundle" || len(b.Entry) == 0 {
		return index.MaybeDelivered, "the answer is no Bundle of responses"
	}
	for _, e := range b.Entry {
		code, _ := strconv.Atoi(strings.Fields(e.Response.Status + " -")[0]) // 0 for none
		taken := code >= 200 && code < 300 || act == index.Withdraw && nothingThere(code)
		if !taken {
			return index.DeliveryRefused, fmt.Sprintf("an entry was answered with %.100q", e.Response.Status)
		}
	}
	return index.Delivered, ""
}
