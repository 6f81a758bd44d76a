package peer_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/consensus/peer"
	"github.com/esante-alsace/cigogne/storage"
)

// TestRevokedWhileConnected: a connection that a node has when its certificate
// is revoked does not outlive that.
func TestRevokedWhileConnected(t *testing.T) {
	dir := t.TempDir()
	var revoked atomic.Bool
	n1 := listen(t, peer.PortOptions{Credentials: credentials(t, dir, node("n1")), Refuses: func(peer.Identity, time.Time) error {
		if revoked.Load() {
			return fmt.Errorf("%w: revoked", storage.ErrForbidden)
		}
		return nil
	}})
	d := peer.NewDialer(credentials(t, dir, node("n2")), nil)
	c, err := d.Dial(t.Context(), n1, peer.ProtoRaft)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := spoken(c); err != nil {
		t.Fatal(err)
	}
	revoked.Store(true)
	for until := time.Now().Add(30 * time.Second); time.Now().Before(until); {
		if _, err := spoken(c); err != nil {
			return
		}
	}
	t.Error("it is still spoken to")
}
