package main

import (
	"net/http"
	"testing"

	"github.com/esante-alsace/cigogne/gateway/access"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// TestOperation: what a request wants is read from its method and path.
func TestOperation(t *testing.T) {
	for _, c := range []struct {
		method, path string
		want         access.Operation
	}{
		{"GET", "/", access.Observe},
		{"GET", "/readyz", access.Observe},
		{"GET", "/ops", access.Oversee},
		{"GET", "/ops/live", access.Oversee},
		{"GET", "/ops/static/ops.css", access.Observe},
		{"GET", "/opsis", access.Observe},
		{"POST", "/dicom-web/studies", access.Store},
		{"POST", "/dicom-web/studies/1.2", access.Store},
		{"GET", "/dicom-web/studies", access.Search},
		{"GET", "/dicom-web/series", access.Search},
		{"GET", "/dicom-web/studies/1.2/instances", access.Search},
		{"GET", "/dicom-web/studies/1.2/series/1.3/instances", access.Search},
		{"GET", "/dicom-web/conflicts", access.Search},
		{"GET", "/dicom-web/studies/1.2", access.Retrieve},
		{"HEAD", "/dicom-web/studies/1.2/series/1.3", access.Retrieve},
		{"GET", "/dicom-web/studies/1.2/series/1.3/metadata", access.Retrieve},
		{"GET", "/dicom-web/studies/1.2/series/1.3/instances/1.4/frames/1", access.Retrieve},
		{"GET", "/dicom-web/conflicts/studies/1.2", access.Retrieve},
	} {
		r, err := http.NewRequestWithContext(t.Context(), c.method, "http://node"+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := operation(r); got != c.want {
			t.Errorf("%s %s is %s, want %s", c.method, c.path, got, c.want)
		}
	}
}

// TestCompression: JSON is compressed for who asks for it, instances are not.
func TestCompression(t *testing.T) {
	node := serve(t, t.TempDir())
	study := dicomtest.NewStudy(dicomtest.Options{Modality: "CR", Instances: 5})
	if !pushSTOW(t.Context(), node, newLedger(), study.Instances) {
		t.Fatal("push failed")
	}
	at := node.web + "/dicom-web/studies/" + study.StudyInstanceUID
	for _, c := range []struct {
		resource, accept, want string
	}{
		{at + "/metadata", "gzip", "gzip"},
		{at + "/metadata", "", ""},
		{at + "/instances", "gzip", "gzip"},
		{at, "gzip", ""},
		{at + "?accept=application/zip", "gzip", ""},
	} {
		rq, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.resource, nil)
		if err != nil {
			t.Fatal(err)
		}
		rq.Header.Set("Accept-Encoding", c.accept) // or the transport asks, and inflates
		answer, err := http.DefaultTransport.RoundTrip(rq)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if got := answer.Header.Get("Content-Encoding"); got != c.want || answer.StatusCode != http.StatusOK {
			t.Errorf("GET %s, asked for %q: %s, encoding %q, want %q", c.resource, c.accept, answer.Status, got, c.want)
		}
	}
}
