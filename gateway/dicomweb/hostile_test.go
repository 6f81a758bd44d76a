package dicomweb_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/dicomweb"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// dial opens a connection of which the test sends the bytes itself.
func (s server) dial(t *testing.T) net.Conn {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	return c
}

// TestRawRequests: faults 13 and 14. Each is one answer, and nothing that the
// client wrote becomes a header.
func TestRawRequests(t *testing.T) {
	s := newServer(t)
	post := "POST /dicom-web/studies HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Type: " + stowType + "\r\n"
	for _, c := range []struct {
		name, request string
		status        int
	}{
		{"length and chunks", post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /dicom-web/studies HTTP/1.1\r\nHost: h\r\n\r\n", 400},
		{"two lengths", post + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n12345", 400},
		{"negative length", post + "Content-Length: -1\r\n\r\n", 400},
		{"length that is no number", post + "Content-Length: 0x10\r\n\r\n", 400},
		{"a body of 4 GiB that never comes", post + "Content-Length: 4294967296\r\n\r\n--border--", 400},
		{"a body of 2 TiB", post + "Content-Length: 2199023255552\r\n\r\n", 413},
		{"chunks that are none", post + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400},
		{"line ends in the query", "GET /dicom-web/studies?PatientName=%0d%0aSet-Cookie:%20x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 200},
		{"line ends in a name", "GET /dicom-web/studies?%0d%0aSet-Cookie:%20x=1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 400},
		{"raw line end in the path", "GET /dicom-web/stu\rdies HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 400},
		{"host with a quote", "GET /dicom-web/studies HTTP/1.1\r\nHost: h\"x\r\nConnection: close\r\n\r\n", 400},
		{"the way up", "GET /dicom-web/studies/../../etc HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 404},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := s.dial(t)
			io.WriteString(conn, c.request)
			if c.status == 400 || c.status == 413 { // the client waits: the answer must come all the same
				conn.(*net.TCPConn).CloseWrite()
			}
			all, _ := io.ReadAll(conn)
			r := bufio.NewReader(bytes.NewReader(all))
			res, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatalf("no answer: %v: %s", err, clipped(all))
			}
			io.Copy(io.Discard, res.Body)
			res.Body.Close()
			moved := c.name == "the way up" && res.StatusCode/100 == 3 // by the outer ServeMux
			if res.StatusCode != c.status && !moved || res.Header.Get("Set-Cookie") != "" {
				t.Fatalf("%s %v", res.Status, res.Header)
			}
			if rest, _ := io.ReadAll(r); len(rest) > 0 {
				t.Fatalf("a second answer: %s", clipped(rest))
			}
		})
	}
}

// TestHostileNames: fault 7. What is no UID is refused and never stored.
func TestHostileNames(t *testing.T) {
	s := newServer(t)
	for _, uid := range []string{"../../x", "/etc/passwd", "1.2\x00.3", strings.Repeat("1", 65), "1..2", "", "C:\\x"} {
		var b dicomtest.Builder
		b.Text(0x00080016, "UI", dicomtest.CTImage).Text(0x00080018, "UI", uid)
		b.Text(0x0020000D, "UI", "1.2").Text(0x0020000E, "UI", "1.3")
		contentType, body := stowBody(append(dicomtest.FileMeta(dicomtest.CTImage, uid, dicomtest.ExplicitLE), b.Bytes()...))
		res := s.post(t, "/studies", contentType, body)
		res.wantStatus(t, 409)
		if strings.Contains(string(res.body), "etc") || strings.Contains(string(res.body), "..") {
			t.Fatalf("the answer repeats the name: %s", res.body)
		}
	}
	if len(s.sorted()) > 0 {
		t.Fatalf("stored: %v", s.sorted())
	}
}

// TestStalledUpload: fault 11. A sender that stops is answered and let go; one
// that is slow is not.
func TestStalledUpload(t *testing.T) {
	s := newServer(t, func(o *dicomweb.Options) { o.Limits.ReadStall = time.Second })
	file := dicomtest.NewStudy(dicomtest.Options{Seed: 1, Instances: 1}).Instances[0].Part10()
	_, body := stowBody(file)
	whole, _ := io.ReadAll(body)
	head := fmt.Sprintf("POST /dicom-web/studies HTTP/1.1\r\nHost: h\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", stowType, len(whole))

	stalled := s.dial(t)
	io.WriteString(stalled, head)
	stalled.Write(whole[:5000])
	res, err := http.ReadResponse(bufio.NewReader(stalled), nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusRequestTimeout {
		t.Fatalf("stalled: %s", res.Status)
	}

	slow := s.dial(t)
	io.WriteString(slow, head)
	pause := time.NewTicker(100 * time.Millisecond) // the subject is time
	defer pause.Stop()
	for rest := whole; len(rest) > 0; { // for longer than it may stall
		n := min(len(rest), 32<<10)
		slow.Write(rest[:n])
		rest = rest[n:]
		<-pause.C
	}
	if res, err = http.ReadResponse(bufio.NewReader(slow), nil); err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("slow: %s", res.Status)
	}
}

// TestReaderThatDoesNotRead: fault 11. Its connection is given up, and the
// instance is no longer open.
func TestReaderThatDoesNotRead(t *testing.T) {
	var closed = make(chan struct{})
	s := newServer(t, func(o *dicomweb.Options) {
		o.Limits.WriteStall = 200 * time.Millisecond
		o.Retrieve = endless{closed: closed}
	})
	conn := s.dial(t)
	conn.(*net.TCPConn).SetReadBuffer(4096)
	io.WriteString(conn, "GET /dicom-web/studies/1.2/series/1.2/instances/1.2 HTTP/1.1\r\nHost: h\r\nAccept: application/dicom\r\n\r\n")
	select {
	case <-closed:
	case <-time.After(time.Minute):
		t.Fatal("the transfer goes on without a reader")
	}
}

// endless is an instance of 1 TiB.
type endless struct {
	gateway.Instance
	closed chan struct{}
}

func (e endless) Instances(context.Context, gateway.Selector) ([]gateway.Instance, error) {
	return []gateway.Instance{e}, nil
}

func (e endless) About() storage.Instance { return storage.Instance{Size: 1 << 40} }

func (e endless) Open(context.Context, storage.Range) (io.ReadCloser, error) { return e, nil }
func (e endless) Read(p []byte) (int, error)                                 { return len(p), nil }
func (e endless) Close() error                                               { close(e.closed); return nil }

// TestConstantMemory: an upload and a download of 512 MiB cost no memory.
func TestConstantMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("moves 512 MiB each way")
	}
	const size = 512 << 20
	s := newServer(t, func(o *dicomweb.Options) {
		o.Store = drain{}
		o.Retrieve = endless{closed: make(chan struct{})}
	})
	before := heap()
	var most uint64
	watch := func(p []byte) {
		if h := heap(); h > most {
			most = h
		}
		_ = p
	}
	header := "--border\r\nContent-Type: application/dicom\r\n\r\n"
	body := io.MultiReader(strings.NewReader(header), &zeros{left: size, every: 64 << 20, visit: watch}, strings.NewReader("\r\n--border--"))
	s.post(t, "/studies", stowType, body).wantStatus(t, 409) // drain knows no DICOM
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, s.root+"/studies/1.2/series/1.2/instances/1.2", nil)
	r.Header.Set("Accept", "application/dicom")
	res, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	io.CopyN(io.Discard, res.Body, size)
	watch(nil)
	res.Body.Close()
	if most > before+16<<20 {
		t.Fatalf("the heap grew from %d to %d MiB", before>>20, most>>20)
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// drain reads and refuses.
type drain struct{}

func (drain) Receive(_ context.Context, in gateway.Incoming) (gateway.Pending, error) {
	if _, err := io.Copy(io.Discard, in.Body); err != nil {
		return nil, err
	}
	return nil, storage.ErrInvalid
}

// zeros yields NULs and visits every so many bytes.
type zeros struct {
	left, every, next int64
	visit             func([]byte)
}

func (z *zeros) Read(p []byte) (int, error) {
	if z.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), z.left)
	clear(p[:n])
	z.left -= n
	if z.next -= n; z.next <= 0 {
		z.next = z.every
		z.visit(p)
	}
	return int(n), nil
}
