package client_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/cmd/cigogne/client"
	"github.com/esante-alsace/cigogne/storage"
)

func speak(t *testing.T, stall time.Duration, h http.HandlerFunc) *client.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := client.New(client.Options{Gateway: s.URL, Connections: 2, Stall: stall})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestGatewayURL(t *testing.T) {
	for given, want := range map[string]string{
		"http://h:8080": "http://h:8080/dicom-web", "https://h/": "https://h/dicom-web", "http://h/pacs/": "http://h/pacs",
		"https://who:secret@h": "https://who:xxxxx@h/dicom-web",
		"h:8080":               "", "ftp://h": "", "http://": "", "http://h?x=1": "",
	} {
		c, err := client.New(client.Options{Gateway: given})
		if want == "" {
			if !errors.Is(err, storage.ErrInvalid) {
				t.Errorf("%q: %v", given, err)
			}
			continue
		}
		if err != nil || c.String() != want {
			t.Errorf("%q: %v, %v, want %s", given, c, err, want)
		}
	}
}

// TestRefusals: an answer that is an error says what it stands for, in words
// of the gateway, and when to try again.
func TestRefusals(t *testing.T) {
	for status, want := range map[int]error{
		404: storage.ErrNotFound, 403: storage.ErrForbidden, 401: storage.ErrForbidden, 503: storage.ErrUnavailable,
		429: storage.ErrUnavailable, 507: storage.ErrFull, 413: storage.ErrTooLarge, 400: storage.ErrInvalid, 501: storage.ErrUnsupported,
	} {
		c := speak(t, time.Minute, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(status)
			fmt.Fprint(w, `{"error":"so it is"}`)
		})
		_, err := c.Digests(t.Context(), "1.2")
		var r *client.Refusal
		if !errors.Is(err, want) || !errors.As(err, &r) || r.Text != "so it is" || r.RetryAfter != 7*time.Second {
			t.Errorf("%d: %v", status, err)
		}
		if _, err := c.Store(t.Context(), "b", io.NopCloser(strings.NewReader("x"))); !errors.Is(err, want) {
			t.Errorf("%d to a Store request: %v", status, err)
		}
	}
}

// TestRedirects are not followed: what answers elsewhere, to a POST that became
// a GET perhaps, has not done what was asked.
func TestRedirects(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		c := speak(t, time.Minute, func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/elsewhere") {
				t.Errorf("%d: %s %s", status, r.Method, r.URL)
				fmt.Fprint(w, "{}")
				return
			}
			io.Copy(io.Discard, r.Body)
			w.Header().Set("Location", "/elsewhere"+r.URL.Path)
			w.WriteHeader(status)
		})
		var into any
		_, derr := c.Digests(t.Context(), "1.2")
		_, serr := c.Store(t.Context(), "b", io.NopCloser(strings.NewReader("x")))
		for _, err := range []error{derr, serr, c.Delete(t.Context(), "/studies/1.2", nil, "", &into)} {
			if !errors.Is(err, storage.ErrUnsupported) || !strings.Contains(err.Error(), `"/elsewhere/`) {
				t.Errorf("%d: %v", status, err)
			}
		}
	}
}

// TestAnAnswerThatIsNoText is not shown to a person.
func TestAnAnswerThatIsNoText(t *testing.T) {
	c := speak(t, time.Minute, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/zip")
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprint(w, "PK\x03\x04")
	})
	if _, err := c.Digests(t.Context(), "1.2"); err == nil || strings.Contains(err.Error(), "PK") {
		t.Error(err)
	}
}

// TestZipIsWhatWasAskedFor: a range of another file, or another range, is
// never taken for the one that is wanted.
func TestZipIsWhatWasAskedFor(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		ranged string
		want   error
	}{
		"as asked":             {206, "bytes 10-19/100", nil},
		"shorter":              {206, "bytes 10-14/15", nil},
		"another begin":        {206, "bytes 11-20/100", storage.ErrInvalid},
		"longer":               {206, "bytes 10-30/100", storage.ErrInvalid},
		"nothing":              {206, "bytes 10-9/100", storage.ErrInvalid},
		"beyond its own size":  {206, "bytes 10-19/12", storage.ErrInvalid},
		"nonsense":             {206, "bytes x", storage.ErrInvalid},
		"the whole of another": {200, "", client.ErrChanged},
		"the whole":            {200, "", storage.ErrUnsupported},
		"beyond the end":       {416, "bytes */5", client.ErrBeyond},
	} {
		at := speak(t, time.Minute, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") != "bytes=10-19" || r.Header.Get("If-Range") != `"e"` {
				t.Errorf("%s: Range %q, If-Range %q", name, r.Header.Get("Range"), r.Header.Get("If-Range"))
			}
			w.Header().Set("ETag", `"e"`)
			if name == "the whole of another" {
				w.Header().Set("ETag", `"f"`)
			}
			w.Header().Set("Content-Range", c.ranged)
			w.WriteHeader(c.status)
		})
		p, err := at.Zip(t.Context(), "1.2", `"e"`, storage.Range{Offset: 10, Length: 10})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if p != nil {
			p.Close()
		}
	}
}

// TestStandstill: a gateway that says nothing is left within the time.
func TestStandstill(t *testing.T) {
	t.Parallel()
	over := make(chan struct{})
	c := speak(t, 50*time.Millisecond, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
		}
		select {
		case <-r.Context().Done():
		case <-over:
		}
	})
	defer close(over)
	if _, err := c.Digests(t.Context(), "1.2"); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("GET: %v", err)
	}
	if _, err := c.Store(t.Context(), "b", io.NopCloser(strings.NewReader("x"))); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("POST: %v", err)
	}
}

// TestAnotherServer: what gives no receipts is not believed to have stored
// anything.
func TestAnotherServer(t *testing.T) {
	var answer string
	c := speak(t, time.Minute, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, answer)
	})
	for _, answer = range []string{
		`{"00081199":{"vr":"SQ","Value":[{"00081155":{"vr":"UI","Value":["1.2"]}}]}}`, `[]`, `<html>Who are you?</html>`,
	} {
		if got, err := c.Store(t.Context(), "b", io.NopCloser(strings.NewReader("x"))); !errors.Is(err, storage.ErrUnsupported) {
			t.Errorf("%s: %v, %v", answer, got, err)
		}
	}
}

// TestTooLarge is an instance for good, and a request that broke off perhaps
// not.
func TestTooLarge(t *testing.T) {
	warning := ""
	c := speak(t, time.Minute, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if warning != "" {
			w.Header().Set("Warning", warning)
		}
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		fmt.Fprint(w, `{"00081198":{"vr":"SQ","Value":[{"00081197":{"vr":"US","Value":[42752]},"00090010":{"vr":"LO","Value":["CIGOGNE"]},
			"00091001":{"vr":"UL","Value":[0]},"00091003":{"vr":"LT","Value":["instance too large"]}}]}}`)
	})
	got, err := c.Store(t.Context(), "b", io.NopCloser(strings.NewReader("x")))
	if want := (client.Receipt{Refused: "instance too large"}); err != nil || got[0] != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	warning = `299 cigogne "the request body is longer than this node takes"`
	if got, err := c.Store(t.Context(), "b", io.NopCloser(strings.NewReader("x"))); !errors.Is(err, storage.ErrTooLarge) || len(got) > 0 {
		t.Errorf("broken off: %+v, %v", got, err)
	}
}

// TestAGatewayOfAnotherBuild: one whose digests are another algorithm's is told
// by that, and nothing that it has or takes is called damaged.
func TestAGatewayOfAnotherBuild(t *testing.T) {
	other := strings.Repeat("9f", 32)
	c := speak(t, time.Minute, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			fmt.Fprintf(w, `{"etag":"x","size":9,"instances":[{"series":"1.2","instance":"1.3","size":5,"sha256":%q}]}`, other)
			return
		}
		io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, `{"00081199":{"vr":"SQ","Value":[{"00081155":{"vr":"UI","Value":["1.2"]},"00090010":{"vr":"LO","Value":["CIGOGNE"]},
			"00091001":{"vr":"UL","Value":[0]},"00091002":{"vr":"LO","Value":[%q]}}]}}`, other)
	})
	got, err := c.Digests(t.Context(), "1.1")
	receipts, serr := c.Store(t.Context(), "b", io.NopCloser(strings.NewReader("x")))
	for _, err := range []error{err, serr} {
		if !errors.Is(err, storage.ErrUnsupported) || !strings.Contains(err.Error(), "another build") || len(got.Instances)+len(receipts) != 0 {
			t.Errorf("%v, %v, %v", err, got, receipts)
		}
	}
}
