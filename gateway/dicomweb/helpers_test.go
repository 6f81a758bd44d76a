package dicomweb_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/gateway/dicomweb"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// server runs the handler the way wire.go mounts it.
type server struct {
	*httptest.Server
	*memory
	root string
}

func newServer(t testing.TB, change ...func(*dicomweb.Options)) server {
	t.Helper()
	m := &memory{}
	o := dicomweb.Options{
		Store: m, Search: m, Retrieve: m, Conflicts: m, Logger: slog.New(slog.DiscardHandler),
		RequestID: func(*http.Request) string { return "request-1" },
	}
	for _, c := range change {
		c(&o)
	}
	mux := http.NewServeMux()
	mux.Handle("/dicom-web/", http.StripPrefix("/dicom-web", dicomweb.New(o)))
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return server{Server: s, memory: m, root: s.URL + "/dicom-web"}
}

// reply is an answer that was read to its end.
type reply struct {
	*http.Response
	body []byte
}

func (s server) do(t testing.TB, method, path string, header http.Header, body io.Reader) reply {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.root+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		r.Header[name] = values
	}
	res, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s %s: reading the answer: %v", method, path, err)
	}
	return reply{res, b}
}

// get takes pairs of header names and values.
func (s server) get(t testing.TB, path string, header ...string) reply {
	t.Helper()
	return s.do(t, http.MethodGet, path, pairs(header), nil)
}

func pairs(list []string) http.Header {
	h := http.Header{}
	for i := 0; i+1 < len(list); i += 2 {
		h.Add(list[i], list[i+1])
	}
	return h
}

func (s server) post(t testing.TB, path, contentType string, body io.Reader, header ...string) reply {
	t.Helper()
	return s.do(t, http.MethodPost, path, pairs(append(header, "Content-Type", contentType)), body)
}

// keep stores instances and fails the test when that fails.
func (s server) keep(t testing.TB, instances ...dicomtest.Instance) {
	t.Helper()
	var files [][]byte
	for _, in := range instances {
		files = append(files, in.Part10())
	}
	contentType, body := stowBody(files...)
	if res := s.post(t, "/studies", contentType, body); res.StatusCode != http.StatusOK {
		t.Fatalf("storing: %s %s", res.Status, res.body)
	}
}

const stowType = `multipart/related; type="application/dicom"; boundary=border`

// stowBody is a multipart body of files.
func stowBody(files ...[]byte) (string, io.Reader) {
	var b bytes.Buffer
	for _, f := range files {
		b.WriteString("--border\r\nContent-Type: application/dicom\r\n\r\n")
		b.Write(f)
		b.WriteString("\r\n")
	}
	b.WriteString("--border--\r\n")
	return stowType, &b
}

// wantStatus fails the test unless the answer has the status and, for an
// error, a JSON body that gives a reason and the request's id.
func (r reply) wantStatus(t testing.TB, status int) {
	t.Helper()
	if r.StatusCode != status {
		t.Fatalf("status %d, want %d: %s", r.StatusCode, status, clipped(r.body))
	}
	if status < 400 || r.Header.Get("Content-Type") == "application/dicom+json" {
		return
	}
	var body struct{ Error, RequestID string }
	if err := json.Unmarshal(r.body, &body); err != nil || body.Error == "" || body.RequestID != "request-1" {
		t.Fatalf("status %d without a body that says why: %s", status, clipped(r.body))
	}
}

func clipped(b []byte) string { return strings.ToValidUTF8(string(b[:min(len(b), 400)]), "?") }

// parts reads a multipart answer with the standard library's reader.
func (r reply) parts(t testing.TB) (bodies [][]byte, headers []textproto.MIMEHeader) {
	t.Helper()
	content := r.Header.Get("Content-Type")
	_, boundary, ok := strings.Cut(content, "boundary=")
	if !ok || !strings.HasPrefix(content, "multipart/related; type=") {
		t.Fatalf("Content-Type %q", content)
	}
	m := multipart.NewReader(bytes.NewReader(r.body), boundary)
	for {
		p, err := m.NextRawPart()
		if errors.Is(err, io.EOF) {
			return bodies, headers
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		bodies, headers = append(bodies, b), append(headers, p.Header)
	}
}

// array reads a JSON array of DICOM JSON objects.
func (r reply) array(t testing.TB) []map[string]attribute {
	t.Helper()
	var all []map[string]attribute
	if err := json.Unmarshal(r.body, &all); err != nil {
		t.Fatalf("%v: %s", err, clipped(r.body))
	}
	return all
}

// attribute is an attribute of a DICOM JSON object.
type attribute struct {
	VR          string `json:"vr"`
	Value       []any
	BulkDataURI string
}

func (a attribute) first() any {
	if len(a.Value) == 0 {
		return nil
	}
	return a.Value[0]
}

func (s server) postBytes(t testing.TB, contentType string, body []byte) {
	t.Helper()
	s.post(t, "/studies", contentType, bytes.NewReader(body)).wantStatus(t, http.StatusOK)
}

func newHTTPServer(t testing.TB, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// path is the resource of an instance, or of its study or series.
func path(in dicomtest.Instance, level string) string {
	p := "/studies/" + in.StudyInstanceUID
	if level == "study" {
		return p
	}
	if p += "/series/" + in.SeriesInstanceUID; level == "series" {
		return p
	}
	return p + "/instances/" + in.SOPInstanceUID
}
