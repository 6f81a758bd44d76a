package certs

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/esante-alsace/cigogne/consensus/peer"
)

// TestOfNode: they are made on loopback alone, once, with an operator's, by
// which who calls is known.
func TestOfNode(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	if _, err := OfNode(dir, "n1", false); err == nil {
		t.Error("there is one")
	}
	if _, err := OfCaller(dir); !errors.Is(err, ErrNone) {
		t.Errorf("who calls: %v", err)
	}
	made, err := OfNode(dir, "n1", true)
	if err != nil {
		t.Fatal(err)
	}
	again, err := OfNode(dir, "n1", true)
	if err != nil || !again.Expiry().Equal(made.Expiry()) || made.Identity != (peer.Identity{Role: peer.RoleNode, Name: "n1"}) {
		t.Errorf("%+v, then %+v: %v", made.Identity, again, err)
	}
	if c, err := OfCaller(dir); err != nil || c.Identity.Role != peer.RoleOperator {
		t.Errorf("who calls: %v", err)
	}
	for _, own := range []string{dir, filepath.Join(dir, "n1")} {
		if c, err := OfNode(own, "n1", false); err != nil || c.Identity.Name != "n1" {
			t.Errorf("in %s: %v", own, err)
		}
	}
	if c, err := OfCaller(filepath.Join(dir, "n1")); err != nil || c.Identity.Name != "n1" {
		t.Errorf("who calls with a folder of its own: %v", err)
	}
}
