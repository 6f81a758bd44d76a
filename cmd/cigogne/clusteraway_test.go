package main

import (
	"strings"
	"testing"
)

// TestANodeThatWasTakenOverFrom: it is ready once, with its new journal, and not
// before it knows that it needs one: who sends would be cut off a moment later.
func TestANodeThatWasTakenOverFrom(t *testing.T) {
	if testing.Short() {
		t.Skip("waits until a node is given up")
	}
	t.Parallel()
	r := newRegion(t)
	flags := []string{"--takeover-after", "1s"}
	for _, id := range []string{"n1", "n2", "n3"} {
		r.start(id, flags...)
	}
	r.voting()
	pushed(t, r.nodes["n2"], newLedger(), 9721)
	r.nodes["n2"].stop()
	r.nodes["n1"].eventually("n2 is taken over from", func() bool {
		return strings.Contains(r.nodes["n1"].log.String()+r.nodes["n3"].log.String(), "what lay in a retired journal lies here now")
	})
	r.start("n2", flags...).ready()
	if log := r.nodes["n2"].log.String(); !strings.Contains(log, "goes on with a new one") {
		t.Errorf("it is ready, and not anew\n%s", log)
	}
}
