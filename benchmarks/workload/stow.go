package workload

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/esante-alsace/cigogne/benchmarks"
	"github.com/esante-alsace/cigogne/benchmarks/material"
)

// dialer opens connections; nil is the usual one.
type dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// client is an HTTP client with connections of its own, which end with it.
func client(connections int, d dialer) (*http.Client, func()) {
	if d == nil {
		d = &net.Dialer{Timeout: 10 * time.Second}
	}
	t := &http.Transport{
		DialContext: d.DialContext, MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections,
		DisableCompression: true, ReadBufferSize: 64 << 10, WriteBufferSize: 64 << 10,
	}
	return &http.Client{Transport: t, Timeout: 5 * time.Minute}, t.CloseIdleConnections
}

// stow sends with STOW-RS, so many instances in a request.
func stow(connections, perRequest int) driver { return stowOver(connections, perRequest, nil) }

// stowOver makes the requests' bodies before the clock starts: what a client
// does to its files is no server's cost.
func stowOver(connections, perRequest int, d dialer) driver {
	return func(ctx context.Context, r benchmarks.Round) (benchmarks.Work, error) {
		c, done := client(connections, d)
		defer done()
		bodies := map[*material.Instance][][]byte{} // by the first of a connection's part
		for _, part := range r.Series.Split(connections) {
			for first := &part[0]; len(part) > 0; part = part[min(perRequest, len(part)):] {
				body, err := stowBody(part[:min(perRequest, len(part))])
				if err != nil {
					return benchmarks.Work{}, err
				}
				bodies[first] = append(bodies[first], body)
			}
		}
		return together(ctx, r, connections, func(ctx context.Context, part []material.Instance) error {
			for _, body := range bodies[&part[0]] {
				if err := stowRequest(ctx, c, r.At.Web, body); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

const boundary = "cigogne-benchmark"

func stowRequest(ctx context.Context, c *http.Client, root string, body []byte) error {
	rq, err := http.NewRequestWithContext(ctx, http.MethodPost, root+"/studies", bytes.NewReader(body))
	if err != nil {
		return err
	}
	rq.Header.Set("Content-Type", `multipart/related; type="application/dicom"; boundary=`+boundary)
	rq.Header.Set("Accept", "application/dicom+json")
	rsp, err := c.Do(rq)
	if err != nil {
		return err
	}
	defer rsp.Body.Close()
	answer, err := io.ReadAll(rsp.Body)
	if err != nil {
		return err
	}
	if rsp.StatusCode != http.StatusOK || strings.Contains(string(answer), failureReason) {
		return fmt.Errorf("STOW-RS: %s: %.300s", rsp.Status, answer)
	}
	return nil
}

// failureReason (0008,1197) stands in an answer only beside a failure; Orthanc
// sends an empty FailedSOPSequence with a success.
const failureReason = "00081197"

// copyBuffer is what is read from a file or from a connection at once.
const copyBuffer = 256 << 10

// stowBody is the instances as the parts of a request.
func stowBody(part []material.Instance) ([]byte, error) {
	const head, tail = "--" + boundary + "\r\nContent-Type: application/dicom\r\n\r\n", "--" + boundary + "--\r\n"
	body := make([]byte, 0, material.Bytes(part)+int64(len(part)*(len(head)+2)+len(tail)))
	for i := range part {
		instance, err := os.ReadFile(part[i].Path)
		if err != nil {
			return nil, err
		}
		body = append(append(append(body, head...), instance...), "\r\n"...)
	}
	return append(body, tail...), nil
}

func copyFile(w io.Writer, path string, buf []byte) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{f}, buf)
	return err
}
