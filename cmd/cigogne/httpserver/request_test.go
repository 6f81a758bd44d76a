package httpserver

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestTextual: what is no text in a URL goes no further.
func TestTextual(t *testing.T) {
	h := Textual(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	for target, want := range map[string]int{
		"/dicom-web/studies?PatientName=M%C3%BCller": http.StatusNoContent,
		"/dicom-web/studies?PatientName=M%FCller":    http.StatusBadRequest,
		"/dicom-web/studies?%FC=1":                   http.StatusBadRequest,
		"/identities/local/HUS/%FC":                  http.StatusBadRequest,
		"/identities/local/HUS/%C3%BC":               http.StatusNoContent,
		"/custody/holds?reason=%zz&x=%FC":            http.StatusBadRequest,
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
		if w.Code != want {
			t.Errorf("%s: %d, want %d", target, w.Code, want)
		}
	}
}

// TestOwnPages: a page of another origin changes nothing through the browser of
// an operator.
func TestOwnPages(t *testing.T) {
	h := OwnPages(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	for _, c := range []struct {
		method, name, value string
		want                int
	}{
		{http.MethodPost, "Sec-Fetch-Site", "cross-site", http.StatusForbidden},
		{http.MethodPut, "Origin", "https://elsewhere.example", http.StatusForbidden},
		{http.MethodGet, "Sec-Fetch-Site", "cross-site", http.StatusNoContent},
		{http.MethodPost, "Sec-Fetch-Site", "same-origin", http.StatusNoContent},
		{http.MethodPost, "User-Agent", "no browser", http.StatusNoContent},
	} {
		r := httptest.NewRequest(c.method, "http://node.example/v1/studies/1.2:complete", nil)
		r.Header.Set(c.name, c.value)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%v: %d", c, w.Code)
		}
	}
}
