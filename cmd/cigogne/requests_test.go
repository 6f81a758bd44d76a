package main

import (
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/esante-alsace/cigogne/storage/archive/archivetest/s3test"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// TestRequestsOfStudy counts what it takes to read a study of 500 CT out of
// S3: at most one request for each 64 MiB, and two.
func TestRequestsOfStudy(t *testing.T) {
	if testing.Short() {
		t.Skip("stores 263 MB")
	}
	server := s3test.Start(t)
	proxy := s3test.StartProxy(t, server.URL())
	url := s3URLAt(proxy.URL)
	dir := t.TempDir()
	node := serve(t, dir, "--archive", url, "--settle", "3s", "--scrub-rate", "0", "--log-level", "error")
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 77, Instances: 500})
	l := newLedger()
	if !pushSTOW(t.Context(), node, l, study.Instances) {
		t.Fatal("push failed")
	}
	node.eventually("archived", func() bool {
		return metric(t, node, `cigogne_index_held{kind="live"}`) == "0" && metric(t, node, `cigogne_index_held{kind="instances"}`) == "500"
	})
	packs := metric(t, node, `cigogne_index_held{kind="packs"}`)
	node.stop()
	t.Logf("%s packs", packs)
	for _, resource := range []string{"studies/" + study.StudyInstanceUID, "studies/" + study.StudyInstanceUID + "/metadata"} {
		if err := os.RemoveAll(filepath.Join(dir, "cache")); err != nil {
			t.Fatal(err)
		}
		node = serve(t, dir, "--archive", url, "--scrub-rate", "0", "--log-level", "error") // knows nothing of the packs
		node.ready()
		proxy.Reset()
		answer, err := http.Get(node.web + "/dicom-web/" + resource)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode != http.StatusOK {
			t.Fatal(answer.Status, err)
		}
		most := int(math.Ceil(float64(n)/(64<<20))) + 2
		got := proxy.Requests(http.MethodGet) // the node looks after its archives at the same time
		t.Logf("%s: %d requests for %d bytes (at most %d)", resource, got, n, most)
		if got > most {
			t.Errorf("%s: %d requests for %d bytes, at most %d are expected", resource, got, n, most)
		}
		node.stop()
	}
}
