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

func stowOver(connections, perRequest int, d dialer) driver {
	return func(ctx context.Context, r benchmarks.Round) (benchmarks.Work, error) {
		c, done := client(connections, d)
		defer done()
		return together(ctx, r, connections, func(ctx context.Context, part []material.Instance) error {
			var body bytes.Buffer
			for len(part) > 0 {
				n := min(perRequest, len(part))
				if err := stowRequest(ctx, c, r.At.Web, part[:n], &body); err != nil {
					return err
				}
				part = part[n:]
			}
			return nil
		})
	}
}

const boundary = "cigogne-benchmark"

// stowRequest sends one request. Its body is made in body: a client that
// streams it from files costs more of the machine than the server under test.
func stowRequest(ctx context.Context, c *http.Client, root string, part []material.Instance, body *bytes.Buffer) error {
	body.Reset()
	if err := writeParts(body, part); err != nil {
		return err
	}
	rq, err := http.NewRequestWithContext(ctx, http.MethodPost, root+"/studies", bytes.NewReader(body.Bytes()))
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

func writeParts(body *bytes.Buffer, part []material.Instance) error {
	for i := range part {
		body.WriteString("--" + boundary + "\r\nContent-Type: application/dicom\r\n\r\n")
		f, err := os.Open(part[i].Path)
		if err != nil {
			return err
		}
		_, err = body.ReadFrom(f)
		f.Close()
		if err != nil {
			return err
		}
		body.WriteString("\r\n")
	}
	body.WriteString("--" + boundary + "--\r\n")
	return nil
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
