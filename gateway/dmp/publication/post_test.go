package publication

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/esante-alsace/cigogne/storage/index"
)

// TestJudge: what an answer of the shared record means.
func TestJudge(t *testing.T) {
	response := func(status ...string) string {
		var entries []string
		for _, s := range status {
			entries = append(entries, `{"response":{"status":"`+s+`"}}`)
		}
		return `{"resourceType":"Bundle","type":"transaction-response","entry":[` + strings.Join(entries, ",") + `]}`
	}
	for _, c := range []struct {
		name   string
		act    index.DeliveryAct
		status int
		said   string
		broken error
		want   index.DeliveryResult
	}{
		{"taken", index.Publish, 200, response("201 Created", "200"), nil, index.Delivered},
		{"an entry was not", index.Publish, 200, response("201", "409 Conflict"), nil, index.DeliveryRefused},
		{"an entry without a status", index.Publish, 200, response(""), nil, index.DeliveryRefused},
		{"no Bundle", index.Publish, 200, `{"resourceType":"OperationOutcome"}`, nil, index.MaybeDelivered},
		{"a page of a proxy", index.Replace, 200, `<html>`, nil, index.MaybeDelivered},
		{"an empty Bundle", index.Replace, 200, response(), nil, index.MaybeDelivered},
		{"it broke off", index.Publish, 200, response("201"), io.ErrUnexpectedEOF, index.MaybeDelivered},
		{"invalid", index.Publish, 422, "", nil, index.DeliveryRefused},
		{"a precondition", index.Publish, 412, "", nil, index.DeliveryRefused},
		{"who are you", index.Publish, 401, "", nil, index.NotDelivered},
		{"elsewhere", index.Publish, 302, "", nil, index.NotDelivered},
		{"not there", index.Publish, 404, "", nil, index.NotDelivered},
		{"slowly", index.Publish, 429, "", nil, index.NotDelivered},
		{"an error", index.Publish, 500, "", nil, index.MaybeDelivered},
		{"a gateway's time is over", index.Publish, 504, "", nil, index.MaybeDelivered},
		{"withdrawn", index.Withdraw, 200, response("200 OK"), nil, index.Delivered},
		{"nothing to withdraw", index.Withdraw, 404, `{"resourceType":"OperationOutcome"}`, nil, index.Delivered},
		{"nothing to withdraw any more", index.Withdraw, 410, `{"resourceType":"OperationOutcome"}`, nil, index.Delivered},
		{"a proxy that does not find the record", index.Withdraw, 404, "<html>404 page not found</html>", nil, index.NotDelivered},
		{"a proxy whose record is gone", index.Withdraw, 410, "", nil, index.NotDelivered},
		{"a proxy with a condition", index.Withdraw, 412, `{"error":"no client certificate"}`, nil, index.DeliveryRefused},
		{"nothing to withdraw, by entry", index.Withdraw, 200, response("404 Not Found"), nil, index.Delivered},
		{"not to be withdrawn", index.Withdraw, 400, "", nil, index.DeliveryRefused},
	} {
		if got, why := judge(c.act, c.status, []byte(c.said), c.broken); got != c.want || (why == "") != (got == index.Delivered) {
			t.Errorf("%s: %d, want %d: %q", c.name, got, c.want, why)
		}
	}
}

// FuzzJudge: no answer panics, and none but a Bundle is taken for success.
func FuzzJudge(f *testing.F) {
	f.Add(200, []byte(`{"resourceType":"Bundle","entry":[{"response":{"status":"201"}}]}`))
	f.Add(200, []byte(`{"resourceType":"Bundle","entry":[{"response":{"status":" "}}]}`))
	f.Fuzz(func(t *testing.T, status int, said []byte) {
		if result, _ := judge(index.Publish, status, said, nil); result == index.Delivered && (status < 200 || status > 299 || len(said) < 20) {
			t.Errorf("%d %q", status, said)
		}
	})
}

// TestPost: who cannot be reached has not got it, who says nothing may have;
// who wants to be left alone is; redirections are not followed.
func TestPost(t *testing.T) {
	answering := func(how func(http.ResponseWriter)) (*httptest.Server, poster) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.Copy(io.Discard, r.Body); err != nil || r.Header.Get("Authorization") != "Bearer secret" {
				t.Errorf("%v, %v", err, r.Header)
			}
			how(w)
		}))
		token := func() (string, error) { return "secret", nil }
		return server, newPoster(SenderOptions{Endpoint: server.URL, Token: token, Timeout: time.Minute, Parallel: 1})
	}
	for _, c := range []struct {
		name string
		how  func(http.ResponseWriter)
		want index.DeliveryResult
		wait time.Duration
	}{
		{"cut", func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, index.MaybeDelivered, 0},
		{"later", func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusTooManyRequests)
		}, index.NotDelivered, 7 * time.Second},
		{"much later", func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "999999999")
			w.WriteHeader(http.StatusServiceUnavailable)
		}, index.MaybeDelivered, time.Hour},
		{"elsewhere", func(w http.ResponseWriter) {
			w.Header().Set("Location", "/x")
			w.WriteHeader(http.StatusTemporaryRedirect)
		}, index.NotDelivered, 0},
	} {
		server, p := answering(c.how)
		if got, why, wait := p.post(t.Context(), index.Publish, []byte("{}")); got != c.want || wait != c.wait || why == "" {
			t.Errorf("%s: %d, %v, %q", c.name, got, wait, why)
		}
		server.Close()
	}
	server, p := answering(func(http.ResponseWriter) {})
	p.token = func() (string, error) { return "", errors.New("no token") }
	if got, _, _ := p.post(t.Context(), index.Publish, nil); got != index.NotDelivered {
		t.Errorf("without a token: %d", got)
	}
	server.Close()
	p.token = nil
	if got, _, _ := p.post(t.Context(), index.Publish, nil); got != index.NotDelivered {
		t.Errorf("nobody is there: %d", got)
	}
}

// TestPostCountsAnswers: an answer to some of a transaction is none to all of
// it (FHIR R4 §3.1.0.11.2: an entry for each).
func TestPostCountsAnswers(t *testing.T) {
	const taken = `{"response":{"status":"201"}}`
	for said, want := range map[string]index.DeliveryResult{
		taken: index.MaybeDelivered, taken + "," + taken: index.Delivered, taken + `,{"response":{"status":"422"}}`: index.DeliveryRefused,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `{"resourceType":"Bundle","entry":[`+said+`]}`)
		}))
		p := newPoster(SenderOptions{Endpoint: server.URL, Timeout: time.Minute, Parallel: 1})
		if got, why, _ := p.post(t.Context(), index.Publish, []byte(`{"entry":[{},{}]}`)); got != want {
			t.Errorf("%s: %d, want %d: %q", said, got, want, why)
		}
		server.Close()
	}
}

// TestPostShowsACertificate: the other side is held to its authority, and told
// who we are.
func TestPostShowsACertificate(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) != 1 {
			t.Error("nobody was shown")
		}
		io.WriteString(w, `{"resourceType":"Bundle","entry":[{"response":{"status":"201"}}]}`)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	defer server.Close()
	trusted := x509.NewCertPool()
	trusted.AddCert(server.Certificate())
	own := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &server.TLS.Certificates[0], nil }
	for name, c := range map[string]struct {
		tls  *tls.Config
		want bool
	}{
		"known":          {&tls.Config{RootCAs: trusted, GetClientCertificate: own}, true},
		"no certificate": {&tls.Config{RootCAs: trusted}, false},
		"not trusted":    {nil, false},
	} {
		p := newPoster(SenderOptions{Endpoint: server.URL, TLS: c.tls, Timeout: time.Minute, Parallel: 1})
		if got, why, _ := p.post(t.Context(), index.Publish, []byte("{}")); (got == index.Delivered) != c.want {
			t.Errorf("%s: %d, %q", name, got, why)
		}
	}
}

// TestBearer: whose token is shown passes, however the scheme is written
// (RFC 9110 §11.1); of two tokens nobody knows which one was meant.
func TestBearer(t *testing.T) {
	for _, c := range []struct {
		shown  []string
		passes bool
	}{
		{[]string{"Bearer known"}, true}, {[]string{"bearer known"}, true}, {[]string{"BEARER  known "}, true},
		{nil, false}, {[]string{""}, false}, {[]string{"Bearer"}, false}, {[]string{"Bearer "}, false}, {[]string{"Bearer other"}, false},
		{[]string{"known"}, false}, {[]string{"Basic known"}, false}, {[]string{"Bearerknown"}, false}, {[]string{"Bearer known, Bearer other"}, false},
		{[]string{"Bearer known", "Bearer other"}, false}, {[]string{"Bearer other", "Bearer known"}, false},
	} {
		r := httptest.NewRequest(http.MethodPost, "/studies/1.2", nil)
		r.Header["Authorization"] = c.shown
		status, _ := (&Publisher{}).refusal(r, func(token string) bool { return token == "known" })
		if want := map[bool]int{true: http.StatusMethodNotAllowed, false: http.StatusUnauthorized}[c.passes]; status != want {
			t.Errorf("%q: %d, want %d", c.shown, status, want)
		}
	}
}

// TestRetrieved: which paths retrieve, and of which study.
func TestRetrieved(t *testing.T) {
	for path, study := range map[string]string{
		"/studies/1.2": "1.2", "/studies/1.2/series/3": "1.2", "/studies/1.2/series/3/instances/4": "1.2",
		"/studies/1.2/series/3/instances/4/frames/1,2": "1.2",
		"/studies": "", "/studies/": "", "/studies/x": "", "/studies/1.2/metadata": "", "/studies/1.2/series": "", "/series/1/studies/2": "",
		"/studies/1.2/series/3/instances/4/frames/1/rendered": "", "": "", "/studies/1.2/": "", "/studies/1.2/series/../instances/1": "",
	} {
		if got, ok := retrieved(path); got != study || ok != (study != "") {
			t.Errorf("%s: %q, %t", path, got, ok)
		}
	}
}

// TestClip: what is kept of an answer is short, and still text.
func TestClip(t *testing.T) {
	for _, long := range []string{strings.Repeat("é", whyMost), "x" + strings.Repeat("é", whyMost), "short", ""} {
		got := clip(long)
		if !utf8.ValidString(got) || len(got) > whyMost || len(got) < min(len(long), whyMost-1) {
			t.Errorf("%d bytes are kept of %d: %q", len(got), len(long), got)
		}
	}
}
