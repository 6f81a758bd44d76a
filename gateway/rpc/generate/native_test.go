package main

import (
	"strings"
	"testing"
)

// TestMerge: a fragment adds what it describes, takes the place of nothing, and
// says nothing that would be lost.
func TestMerge(t *testing.T) {
	const made = `{"swagger":"2.0","tags":[{"name":"A"}],"paths":{"/v1/a":{"get":{"summary":"a < b"}}},"definitions":{"A":{}}}`
	merged, err := merge([]byte(made), []byte(`{"tags":[{"name":"B"}],"paths":{"/v1/b":{}},"definitions":{"B":{}}}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"2.0"`, `"/v1/a"`, `a < b`, `"/v1/b"`, `"name": "A"`, `"name": "B"`, `"B": {}`} {
		if !strings.Contains(merged, part) {
			t.Errorf("no %s in %s", part, merged)
		}
	}
	for _, fragment := range []string{`{"paths":{"/v1/a":{}}}`, `{"definitions":{"A":{}}}`, `{"path":{}}`} {
		if merged, err := merge([]byte(made), []byte(fragment)); err == nil {
			t.Errorf("%s became %s", fragment, merged)
		}
	}
}
