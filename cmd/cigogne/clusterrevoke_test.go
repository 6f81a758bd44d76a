package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestARevokedNode: a node that was removed is no member, and still known; one
// whose certificate was revoked with it gets no answer, until it has another or
// is added.
func TestARevokedNode(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	certs := filepath.Join(r.dir, "certs")
	for _, id := range []string{"n1", "n2", "n3"} {
		r.start(id, "--takeover-after", "1h")
	}
	r.voting()
	asks := func(as string) (string, int) {
		var out, errs bytes.Buffer
		code := run(t.Context(), []string{"cluster", "status", "--peer", r.peers["n1"], "--peer-certs", filepath.Join(certs, as)}, nil, &out, &errs)
		return out.String() + errs.String(), code
	}
	r.nodes["n3"].stop()
	delete(r.nodes, "n3")
	if out, code := r.cluster("n1", "remove", "n3"); code != exitOK {
		t.Fatal(out)
	}
	if out, code := asks("n3"); code != exitOK {
		t.Errorf("who was merely removed is refused: %s", out)
	}
	revoke := func() {
		t.Helper()
		made := time.Now().Unix() // certificates know of whole seconds
		r.nodes["n1"].eventually("a second later", func() bool { return time.Now().Unix() > made })
		if out, code := r.cluster("n1", "remove", "--revoke", "n3"); code != exitOK {
			t.Fatal(out)
		}
		r.nodes["n1"].eventually("the certificate is refused", func() bool {
			out, code := asks("n3")
			return code == exitFailure && strings.Contains(out, "revoked")
		})
	}
	revoke()
	if out, code := asks("n2"); code != exitOK {
		t.Errorf("another node is refused: %s", out)
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"certs", "--dir", certs, "n3"}, nil, &out, &errs); code != exitOK {
		t.Fatal(errs.String())
	}
	if err := os.RemoveAll(filepath.Join(r.dir, "n3")); err != nil {
		t.Fatal(err)
	}
	r.start("n3", "--takeover-after", "1h")
	r.voting()

	r.nodes["n3"].stop()
	delete(r.nodes, "n3")
	revoke()
	if out, code := r.cluster("n1", "add", "n3", r.reached["n3"]); code != exitOK {
		t.Fatal(out)
	}
	r.nodes["n1"].eventually("what was revoked is good again", func() bool { _, code := asks("n3"); return code == exitOK })
	r.start("n3", "--takeover-after", "1h")
	r.voting()
}
