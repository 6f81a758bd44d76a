package main

import (
	"testing"

	"github.com/esante-alsace/cigogne/gateway/custody"
)

// TestNext: what a deletion waits for is said as a person would.
func TestNext(t *testing.T) {
	for _, c := range []struct {
		left, shared int
		want         string
	}{
		{0, 0, ""}, {1, 0, "1 pack is left"}, {2, 0, "2 packs are left"},
		{1, 1, "1 pack is left, 1 for instances that are kept aside"}, {3, 1, "3 packs are left, 1 for instances that are kept aside"},
	} {
		if got := next(custody.Deletion{State: "decided", Left: c.left, Shared: c.shared}); got != c.want {
			t.Errorf("%d left, %d shared: %q, want %q", c.left, c.shared, got, c.want)
		}
	}
}
