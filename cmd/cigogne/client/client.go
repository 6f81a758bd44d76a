// Package client speaks to a gateway for the commands that move instances in
// and out of it: DICOMweb, and what /digests adds to it.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/esante-alsace/cigogne/gateway/dicomweb"
	"github.com/esante-alsace/cigogne/storage"
)

// Options say which gateway, and how it is spoken to.
type Options struct {
	// Gateway is its URL; without a path, /dicom-web is meant.
	Gateway string
	// Connections bounds the requests under way. Each has a connection of its
	// own: what one TCP connection carries over a long line is bounded.
	Connections int
	// Stall is how long a transfer may stand still; default a minute.
	Stall time.Duration
}

// Client is a gateway as its clients see it. Its errors wrap the sentinels of
// package storage; those of the line and of an overloaded gateway are
// storage.ErrUnavailable.
type Client struct {
	root  string
	name  string // root without a password
	stall time.Duration
	http  *http.Client
}

const (
	defaultStall = time.Minute
	// bufferBytes is how much is read and written at once.
	bufferBytes = 256 << 10
	// maxAnswer bounds an answer that is kept in memory: the digests of some
	// 500,000 instances.
	maxAnswer = 128 << 20
	// maxReason bounds what is read of an error.
	maxReason = 4 << 10
)

// New returns a client of the gateway, or an error that wraps
// storage.ErrInvalid. Close must be called.
func New(o Options) (*Client, error) {
	u, err := url.Parse(o.Gateway)
	if err == nil {
		o.Gateway = u.Redacted() // for whoever is told
	}
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" {
		return nil, fmt.Errorf("%w: gateway %q: write http://host:port", storage.ErrInvalid, o.Gateway)
	}
	if u.Path = strings.TrimRight(u.Path, "/"); u.Path == "" {
		u.Path = "/dicom-web"
	}
	if o.Stall <= 0 {
		o.Stall = defaultStall
	}
	dialer := &net.Dialer{Timeout: o.Stall}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true) // HTTP/2 would put all requests on one connection
	return &Client{root: u.String(), name: u.Redacted(), stall: o.Stall, http: &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, Protocols: protocols,
			MaxIdleConnsPerHost: o.Connections + 1, IdleConnTimeout: o.Stall,
			ReadBufferSize: bufferBytes, WriteBufferSize: bufferBytes,
		},
		// A POST or a DELETE that is redirected may become a GET, whose answer
		// says nothing of what was to be done.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Close closes connections that are kept open.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// String is the root of its DICOMweb services, without a password.
func (c *Client) String() string { return c.name }

// errNoDigests: what is compared must not be called damaged.
var errNoDigests = fmt.Errorf("%w: the gateway gives no BLAKE3 digests: it is of another build, which has a client of its own", storage.ErrUnsupported)

// Digests asks what the gateway has of a study. A gateway of another build,
// whose digests are none of storage's, is storage.ErrUnsupported.
func (c *Client) Digests(ctx context.Context, studyInstanceUID string) (dicomweb.Digests, error) {
	var d dicomweb.Digests
	if err := c.getJSON(ctx, "/studies/"+studyInstanceUID+"/digests", "application/json", &d); err != nil {
		return d, err
	}
	for _, in := range d.Instances {
		if in.Digest == (storage.Digest{}) {
			return dicomweb.Digests{}, errNoDigests
		}
	}
	return d, nil
}

// Search is QIDO-RS: resource is a path such as "/studies". The results are
// objects of DICOM JSON; the warnings tell what the gateway left out.
func (c *Client) Search(ctx context.Context, resource string, query url.Values) (results []json.RawMessage, warnings []string, err error) {
	if len(query) > 0 {
		resource += "?" + query.Encode()
	}
	header, err := c.getJSONHeader(ctx, resource, "application/dicom+json", &results)
	return results, header.Values("Warning"), err
}

// API asks the REST API, beside DICOMweb: resource is a path such as
// "/v1/studies/1.2.3/timeline".
func (c *Client) API(ctx context.Context, resource string) (json.RawMessage, error) {
	beside := *c
	beside.root = strings.TrimSuffix(c.root, "/dicom-web")
	var text json.RawMessage
	err := beside.getJSON(ctx, resource, "application/json", &text)
	return text, err
}

// Call sends a request that changes something to the REST API, as API asks it:
// body is sent as JSON.
func (c *Client) Call(ctx context.Context, resource string, body any) (json.RawMessage, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", storage.ErrInvalid, err)
	}
	ctx, w := c.watch(ctx)
	defer w.end()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(c.root, "/dicom-web")+resource, bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", storage.ErrInvalid, err)
	}
	r.Header.Set("Content-Type", "application/json")
	res, err := c.http.Do(r)
	if err != nil {
		return nil, unavailable(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, refusal(res)
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, unavailable(err)
	}
	return text, nil
}

func (c *Client) getJSON(ctx context.Context, resource, accept string, into any) error {
	_, err := c.getJSONHeader(ctx, resource, accept, into)
	return err
}

func (c *Client) getJSONHeader(ctx context.Context, resource, accept string, into any) (http.Header, error) {
	res, err := c.get(ctx, resource, http.Header{"Accept": {accept}})
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, refusal(res)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(io.LimitReader(res.Body, maxAnswer+1)); err != nil {
		return nil, unavailable(err)
	}
	if b.Len() > maxAnswer {
		return nil, fmt.Errorf("%w: the answer to %s", storage.ErrTooLarge, resource)
	}
	if err := json.Unmarshal(b.Bytes(), into); err != nil {
		return nil, fmt.Errorf("%w: the answer to %s: %w", storage.ErrInvalid, resource, err)
	}
	return res.Header, nil
}

// get begins a GET. The body of the answer is watched for stalls and must be
// closed.
func (c *Client) get(ctx context.Context, resource string, header http.Header) (*http.Response, error) {
	ctx, w := c.watch(ctx)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.root+resource, nil)
	if err != nil {
		w.end()
		return nil, fmt.Errorf("%w: %w", storage.ErrInvalid, err)
	}
	for name, values := range header {
		r.Header[name] = values
	}
	res, err := c.http.Do(r)
	if err != nil {
		w.end()
		return nil, unavailable(err)
	}
	w.moved()
	res.Body = watched{res.Body, w}
	return res, nil
}

// Part is a range of a study's ZIP file on its way.
type Part struct {
	io.ReadCloser
	Range storage.Range
	// ETag and Size are those of the whole file.
	ETag string
	Size int64
}

// ErrChanged tells that the study is not what it was.
var ErrChanged = fmt.Errorf("%w: the study has changed", storage.ErrConflict)

// errNoRanges: nothing that is cut could be gone on with.
var errNoRanges = fmt.Errorf("%w: no ranges of a ZIP file are given: is what answers a Cigogne, with nothing before it that takes Range away?", storage.ErrUnsupported)

// ErrBeyond tells that the range begins behind the end.
var ErrBeyond = fmt.Errorf("%w: the range lies beyond the end", storage.ErrInvalid)

// Zip begins to fetch a range of a study's ZIP file, of which a shorter one is
// given at its end. With an etag it must be that file: otherwise ErrChanged.
// The part must be closed.
func (c *Client) Zip(ctx context.Context, studyInstanceUID, etag string, want storage.Range) (*Part, error) {
	header := http.Header{
		"Accept": {"application/zip"},
		"Range":  {fmt.Sprintf("bytes=%d-%d", want.Offset, want.End()-1)},
	}
	if etag != "" {
		header.Set("If-Range", etag)
	}
	res, err := c.get(ctx, "/studies/"+studyInstanceUID, header)
	if err != nil {
		return nil, err
	}
	p := &Part{ReadCloser: res.Body, ETag: res.Header.Get("ETag")}
	switch {
	case res.StatusCode == http.StatusPartialContent:
		var last int64
		_, err := fmt.Sscanf(res.Header.Get("Content-Range"), "bytes %d-%d/%d", &p.Range.Offset, &last, &p.Size)
		p.Range.Length = last - p.Range.Offset + 1
		if err != nil || p.Range.Offset != want.Offset || p.Range.Length < 1 || p.Range.Length > want.Length || !p.Range.Within(p.Size) {
			res.Body.Close()
			return nil, fmt.Errorf("%w: Content-Range %q", storage.ErrInvalid, res.Header.Get("Content-Range"))
		}
		return p, nil
	case res.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		err = ErrBeyond
	case res.StatusCode == http.StatusOK && etag != "" && etag != p.ETag:
		err = ErrChanged
	case res.StatusCode == http.StatusOK:
		err = errNoRanges
	default:
		err = refusal(res)
	}
	res.Body.Close()
	return nil, err
}

// Refusal is an answer that is an error.
type Refusal struct {
	Status     int
	Text       string
	RetryAfter time.Duration // 0 when not said
}

// Error implements error.
func (r *Refusal) Error() string {
	text := fmt.Sprintf("the gateway answers %d %s", r.Status, http.StatusText(r.Status))
	if r.Text != "" {
		text += ": " + r.Text
	}
	return text
}

// Unwrap gives it the sentinel that its status stands for.
func (r *Refusal) Unwrap() error {
	switch r.Status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return storage.ErrUnsupported
	case http.StatusNotFound:
		return storage.ErrNotFound
	case http.StatusUnauthorized, http.StatusForbidden:
		return storage.ErrForbidden
	case http.StatusRequestEntityTooLarge:
		return storage.ErrTooLarge
	case http.StatusInsufficientStorage:
		return storage.ErrFull
	case http.StatusConflict:
		return storage.ErrConflict
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusRequestTimeout:
		return storage.ErrUnavailable
	case http.StatusNotImplemented, http.StatusUnsupportedMediaType, http.StatusNotAcceptable, http.StatusMethodNotAllowed:
		return storage.ErrUnsupported
	case http.StatusInternalServerError:
		return storage.ErrCorrupt
	}
	return storage.ErrInvalid
}

// refusal reads an error answer.
func refusal(res *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(res.Body, maxReason))
	if err != nil {
		return unavailable(err)
	}
	r := &Refusal{Status: res.StatusCode, RetryAfter: retryAfter(res.Header)}
	if to := res.Header.Get("Location"); to != "" {
		r.Text = fmt.Sprintf("it sends to %q, which is not followed", to)
		return r
	}
	if kind := res.Header.Get("Content-Type"); strings.HasPrefix(kind, "text/") || strings.Contains(kind, "json") {
		r.Text = strings.TrimSpace(string(body))
	}
	var said struct {
		Error   string `json:"error"`   // of DICOMweb
		Message string `json:"message"` // of the API
	}
	if json.Unmarshal(body, &said) == nil {
		r.Text = said.Error + said.Message
	}
	return r
}

// mostRetryAfter bounds what a gateway may ask us to wait.
const mostRetryAfter = 5 * time.Minute

func retryAfter(h http.Header) time.Duration {
	seconds, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, mostRetryAfter)
}

// unavailable is an error of the line.
func unavailable(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // which URL it was is known
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return fmt.Errorf("%w: no gateway answers (is it running, and is its URL right?): %w", storage.ErrUnavailable, err)
	}
	return fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
}
