package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// fromHost is a client that asks from another address of this machine.
func fromHost(t *testing.T, ip string) *http.Client {
	t.Helper()
	tr := &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}).DialContext, MaxIdleConnsPerHost: 64}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

// statusOf asks and reads the answer to its end.
func statusOf(ctx context.Context, c *http.Client, url string) (status int, retryAfter string, err error) {
	rq, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	res, err := c.Do(rq)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, res.Header.Get("Retry-After"), err
}

// TestHammering: a host that asks for more than it may is told 429 and when to
// come again, whatever it asks for; meanwhile another host is served.
func TestHammering(t *testing.T) {
	t.Parallel()
	node := serve(t, t.TempDir(), "--web-rate", "10", "--api-rate", "10", "--operator-rate", "5", "--log-level", "error")
	for _, path := range []string{
		"/dicom-web/studies", manifestRoot + "/studies/1.2", resolvePath, custodyRoot + "/holds", identitiesRoot + "/queue",
		"/ops", "/ops/live", "/", "/nothing", "/readyz", "/metrics", "/v1/nodes", "/api", "/openapi.json",
	} {
		told := hammer(t, node.web+path, fromHost(t, "127.0.0.1"))
		status, _, err := statusOf(t.Context(), fromHost(t, "127.0.0.2"), node.web+path)
		if err != nil || status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
			t.Errorf("%s: another host is told %d, %v", path, status, err)
		}
		if told == "" {
			t.Errorf("%s: who hammers is never told when to come again", path)
		}
	}
	if status, _, err := statusOf(t.Context(), http.DefaultClient, node.web+"/healthz"); err != nil || status != http.StatusOK {
		t.Errorf("/healthz of a node that was hammered: %d, %v", status, err)
	}
	counted, err := fromHost(t, "127.0.0.3").Get(node.web + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer counted.Body.Close()
	if b, err := io.ReadAll(counted.Body); err != nil || !strings.Contains(string(b), `cigogne_http_refused_requests_total{bound="caller",kind="images"}`) {
		t.Errorf("what was refused is not counted: %v", err)
	}
}

// hammer asks until it is told 429, and returns when it may ask again by the
// node's word.
func hammer(t *testing.T, url string, c *http.Client) (retryAfter string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var told atomic.Value
	var all sync.WaitGroup
	for range 24 {
		all.Go(func() {
			for ctx.Err() == nil {
				if status, after, err := statusOf(ctx, c, url); err == nil && status == http.StatusTooManyRequests {
					told.Store(after)
					cancel()
				}
			}
		})
	}
	all.Wait()
	retryAfter, _ = told.Load().(string)
	return retryAfter
}

// TestConnectionsOfAHost: who holds as many connections as a host may has
// others closed at once; another host has its own.
func TestConnectionsOfAHost(t *testing.T) {
	t.Parallel()
	node := serve(t, t.TempDir(), "--max-connections-per-host", "4", "--log-level", "error")
	http.DefaultClient.CloseIdleConnections()
	var opened []string
	for range 12 { // more than a host may, whatever this test has open beside them
		opened = append(opened, begin(t, node, "").LocalAddr().String())
	}
	if err := poll(20*time.Millisecond, func() (bool, error) {
		held := 0
		for _, local := range opened {
			open, err := holds(node, local)
			if err != nil {
				return false, err
			}
			if open {
				held++
			}
		}
		return held <= 4, nil
	}); err != nil {
		t.Error(err)
	}
	for range 3 {
		if status, _, err := statusOf(t.Context(), fromHost(t, "127.0.0.2"), node.web+"/healthz"); err != nil || status != http.StatusOK {
			t.Errorf("another host: %d, %v", status, err)
		}
	}
}

// TestUploadsOfAHost: who holds as many uploads as a host may is told 429;
// another host stores.
func TestUploadsOfAHost(t *testing.T) {
	t.Parallel()
	node := serve(t, t.TempDir(), "--max-uploads-per-host", "2", "--log-level", "error")
	for range 2 {
		c := begin(t, node, "POST /dicom-web/studies HTTP/1.1\r\nHost: x\r\nContent-Type: application/dicom\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n")
		if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
			t.Fatalf("%q, %v", line, err)
		}
	}
	in := dicomtest.NewStudy(dicomtest.Options{Seed: 52, Modality: "CR", Instances: 1}).Instances[0]
	for ip, want := range map[string]int{"127.0.0.1": http.StatusTooManyRequests, "127.0.0.2": http.StatusOK} {
		res, err := fromHost(t, ip).Post(node.web+"/dicom-web/studies", "application/dicom", strings.NewReader(string(in.Part10())))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s is answered %s, want %d", ip, res.Status, want)
		}
	}
}

// begin connects and sends the beginning of a request.
func begin(t *testing.T, node *process, text string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(node.web, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestSlowOnes: what operators ask, what takes manifests and what reads no body
// are not held up by who sends or reads slowly, and such a one is let go.
func TestSlowOnes(t *testing.T) {
	t.Parallel()
	node := serve(t, t.TempDir(), "--stall", "1s", "--log-level", "error")
	// More manifests that do not come than are read at a time.
	for range 4 {
		begin(t, node, "POST "+resolvePath+" HTTP/1.1\r\nHost: x\r\nContent-Type: application/dicom\r\nContent-Length: 1000\r\n\r\n12345")
	}
	if _, status := resolve(t, node, strings.NewReader("x"), "application/dicom"); status != http.StatusBadRequest {
		t.Errorf("a manifest beside those that do not come: %d", status)
	}
	let := map[string]net.Conn{
		"a body that does not come":       begin(t, node, "PUT "+identitiesRoot+"/local/a/b HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"),
		"a body that nobody reads":        begin(t, node, "GET /dicom-web/studies HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"),
		"one that nobody of /ops reads":   begin(t, node, "GET /ops HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"),
		"one with an answer of 404":       begin(t, node, "POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"),
		"a reader of the API's page":      deaf(t, node, "/openapi.json"),
		"a reader of the operators' page": deaf(t, node, "/ops/static/uPlot.iife.min.js"),
	}
	for what, c := range let {
		local := c.LocalAddr().String()
		if err := poll(50*time.Millisecond, func() (bool, error) {
			open, err := holds(node, local)
			return !open, err
		}); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// deaf asks for a resource many times and reads no answer.
func deaf(t *testing.T, node *process, path string) net.Conn {
	t.Helper()
	addr, err := net.ResolveTCPAddr("tcp", strings.TrimPrefix(node.web, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.DialTCP("tcp", nil, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, strings.Repeat(fmt.Sprintf("GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path), 1000)); err != nil {
		t.Fatal(err)
	}
	return c
}
