package httpserver

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestNamed: a page under a name that somebody else leads here reads nothing.
func TestNamed(t *testing.T) {
	h := Named(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }), []string{"images.example"})
	for host, want := range map[string]int{
		"127.0.0.1:8080": http.StatusNoContent, "127.0.0.1": http.StatusNoContent, "[::1]:8080": http.StatusNoContent, "[::1]": http.StatusNoContent,
		"[fe80::1%25eth0]:80": http.StatusNoContent, "192.0.2.7": http.StatusNoContent,
		"localhost:8080": http.StatusNoContent, "LocalHost.": http.StatusNoContent, "n1.localhost": http.StatusNoContent, "cigogne:8080": http.StatusNoContent, "": http.StatusNoContent,
		"images.example": http.StatusNoContent, "Images.Example.:443": http.StatusNoContent,
		"evil.example": http.StatusMisdirectedRequest, "evil.example:8080": http.StatusMisdirectedRequest, "images.example.evil.example": http.StatusMisdirectedRequest,
		"127.0.0.1.evil.example": http.StatusMisdirectedRequest, "localhost.evil.example": http.StatusMisdirectedRequest,
		"notlocalhost.example:8080": http.StatusMisdirectedRequest, "[evil.example]:80": http.StatusMisdirectedRequest,
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%q: %d, want %d", host, w.Code, want)
		}
	}
}
