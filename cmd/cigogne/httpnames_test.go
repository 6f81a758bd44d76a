package main

import (
	"net/http"
	"testing"
)

// TestNamesOfOthers: a node on loopback answers to addresses and to names that
// it was told, and to no other: a page of somebody whose name leads here is its
// own page to a browser.
func TestNamesOfOthers(t *testing.T) {
	t.Parallel()
	plain := serve(t, t.TempDir(), "--log-level", "error")
	named := serve(t, t.TempDir(), "--log-level", "error", "--http-name", "images.example", "--manifest-url", "https://manifests.example/by-manifest")
	ask := func(node *process, host, path string) int {
		rq, err := http.NewRequestWithContext(t.Context(), http.MethodGet, node.web+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		rq.Host = host
		answer, err := http.DefaultClient.Do(rq)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		return answer.StatusCode
	}
	for _, path := range []string{"/dicom-web/studies", "/v1/studies", "/", "/ops", "/custody/holds", "/identities/queue", "/healthz", "/metrics", "/openapi.json"} {
		for _, c := range []struct {
			node *process
			host string
			want int
		}{
			{plain, "evil.example:8080", http.StatusMisdirectedRequest}, {plain, "images.example", http.StatusMisdirectedRequest},
			{plain, "localhost:8080", http.StatusOK}, {plain, "", http.StatusOK},
			{named, "images.example", http.StatusOK}, {named, "manifests.example", http.StatusOK}, {named, "evil.example", http.StatusMisdirectedRequest},
		} {
			if got := ask(c.node, c.host, path); got != c.want {
				t.Errorf("%s at %q: %d, want %d", path, c.host, got, c.want)
			}
		}
	}
	plain.stop()
	named.stop()
}
