package dicomweb_test

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

func TestMetadata(t *testing.T) {
	s := newServer(t)
	study := small(1, 3)
	s.keep(t, study.Instances...)
	in := study.Instances[1]
	for level, count := range map[string]int{"study": 3, "series": 3, "instance": 1} {
		res := s.get(t, path(in, level)+"/metadata", "Accept", "application/dicom+json")
		res.wantStatus(t, 200)
		all := res.array(t)
		if len(all) != count || res.Header.Get("Content-Type") != "application/dicom+json" || res.ContentLength < 0 {
			t.Fatalf("%s: %d objects of %q", level, len(all), res.Header.Get("Content-Type"))
		}
		for _, object := range all {
			uri := object["7FE00010"].BulkDataURI
			value := s.get(t, strings.TrimPrefix(uri, s.root))
			value.wantStatus(t, 200)
			dataSet := study.Instances[slices.IndexFunc(study.Instances, func(i dicomtest.Instance) bool {
				return i.SOPInstanceUID == object["00080018"].first()
			})].DataSet()
			if len(value.body) != 2*104*104 || !bytes.Contains(dataSet, value.body) {
				t.Fatalf("%s: %d bytes that are no PixelData", uri, len(value.body))
			}
		}
	}
	s.get(t, path(in, "study")+"/metadata", "Accept", "application/dicom+xml").wantStatus(t, 406)
}

func TestBulkdata(t *testing.T) {
	s := newServer(t)
	in := small(1, 1).Instances[0]
	s.keep(t, in)
	p := path(in, "instance") + "/bulkdata/"
	whole := s.get(t, p+"7FE00010")
	whole.wantStatus(t, 200)
	if got := s.get(t, p+"7FE00010", "Range", "bytes=100-299"); got.StatusCode != http.StatusPartialContent || !bytes.Equal(got.body, whole.body[100:300]) {
		t.Fatalf("range: %s", got.Status)
	}
	bodies, headers := s.get(t, p+"7FE00010", "Accept", `multipart/related; type="application/octet-stream"`).parts(t)
	if len(bodies) != 1 || !bytes.Equal(bodies[0], whole.body) || headers[0].Get("Content-Location") != s.root+p+"7FE00010" {
		t.Fatalf("multipart: %v", headers)
	}
	s.get(t, p+"00100010").wantStatus(t, 404)
	s.get(t, p+"..%2f..%2fetc").wantStatus(t, 404)
	s.get(t, p+"7FE00010", "Accept", "image/png").wantStatus(t, 406)
}
