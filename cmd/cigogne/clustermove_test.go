package main

import (
	"net/http"
	"testing"
)

// TestClusterMoves: a node sends a study that lies in another's journal alone,
// whether it has a copy of that or none, to where the asker's AE title listens.
func TestClusterMoves(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a cluster")
	}
	t.Parallel()
	movescu, storescp := tool(t, "movescu"), tool(t, "storescp")
	files := study(t)
	peer := <-startPeers(t, storescp, files, 1)
	sites := committingSites(t, map[string]string{"DEST": "127.0.0.1:" + peer.port})
	r := newRegion(t)
	for _, id := range []string{"n1", "n2", "n3"} {
		r.start(id, "--sites", sites, "--log-level", "warn")
	}
	r.voting()
	var bodies [][]byte
	for _, f := range files {
		bodies = append(bodies, f.whole)
	}
	if status, stored, err := stow(t.Context(), r.nodes["n1"].web, bodies...); err != nil || status != http.StatusOK || len(stored) != len(files) {
		t.Fatalf("%d of %d files were stored: %d, %v", len(stored), len(files), status, err)
	}
	uid := files[0].key.StudyInstanceUID
	for _, id := range []string{"n3", "n2", "n1"} {
		host, port := r.nodes[id].hostPort()
		mustRun(t, movescu, "-S", "-aec", "CIGOGNE", "-aem", "DEST", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID="+uid, host, port)
		arrived(t, peer.in, files, "journal of n1 by way of "+id)
	}
}
