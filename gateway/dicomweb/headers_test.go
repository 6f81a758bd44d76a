package dicomweb_test

import (
	"net/http"
	"testing"

	"github.com/esante-alsace/cigogne/gateway/dicomweb"
)

func TestCORS(t *testing.T) {
	in := small(1, 1).Instances[0]
	for _, c := range []struct {
		name    string
		allowed []string
		origin  string
		want    string
	}{
		{"nobody by default", nil, "https://viewer.example", ""},
		{"a known origin", []string{"https://viewer.example"}, "https://viewer.example", "https://viewer.example"},
		{"another origin", []string{"https://viewer.example"}, "https://evil.example", ""},
		{"everybody", []string{"*"}, "https://viewer.example", "*"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t, func(o *dicomweb.Options) { o.CORSOrigins = c.allowed })
			s.keep(t, in)
			for _, method := range []string{http.MethodGet, http.MethodOptions} {
				res := s.do(t, method, path(in, "study"), pairs([]string{"Origin", c.origin, "Access-Control-Request-Method", "GET"}), nil)
				if got := res.Header.Get("Access-Control-Allow-Origin"); got != c.want {
					t.Fatalf("%s: %q, want %q", method, got, c.want)
				}
				if method == http.MethodOptions && (res.StatusCode == http.StatusNoContent) != (c.want != "") {
					t.Fatalf("preflight: %s", res.Status)
				}
			}
		})
	}
}

// TestTransferSyntaxOfASender: what a sender wrote as its transfer syntax does
// not reach a header unless it is a UID.
func TestTransferSyntaxOfASender(t *testing.T) {
	s := newServer(t)
	in := small(1, 1).Instances[0]
	s.keep(t, in)
	s.instances[0].TransferSyntaxUID = "1.2\r\nSet-Cookie: x=1"
	res := s.get(t, path(in, "instance"), "Accept", "application/dicom")
	if res.Header.Get("Content-Type") != "application/dicom" || res.Header.Get("Set-Cookie") != "" {
		t.Fatalf("header %v", res.Header)
	}
	_, headers := s.get(t, path(in, "instance")).parts(t)
	if len(headers) != 1 || len(headers[0]) != 2 {
		t.Fatalf("part header %v", headers)
	}
}

// TestErrorsAreNotKept: an answer that tells what is not there, or whose it is,
// is kept by nobody on the way (RFC 9111 §4.2.2 lets 404 and 410 be): the study
// may come.
func TestErrorsAreNotKept(t *testing.T) {
	s := newServer(t)
	in := small(1, 1).Instances[0]
	for _, what := range []string{path(in, "instance"), path(in, "study") + "/metadata", path(in, "study") + "/rendered", "/nothing", "/studies?limit=many"} {
		res := s.get(t, what)
		if res.StatusCode < http.StatusBadRequest || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %s, %v", what, res.Status, res.Header)
		}
	}
}
