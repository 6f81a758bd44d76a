package dicomweb_test

import (
	"archive/zip"
	"bytes"
	"io"
	"slices"
	"testing"

	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

func TestRetrieveZIP(t *testing.T) {
	s := newServer(t)
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 1, Series: 2, Instances: 2, Modality: "CR"})
	s.keep(t, study.Instances...)
	res := s.get(t, path(study.Instances[0], "study"), "Accept", "application/zip")
	res.wantStatus(t, 200)
	z, err := zip.NewReader(bytes.NewReader(res.body), int64(len(res.body)))
	if err != nil {
		t.Fatal(err)
	}
	if len(z.File) != 4 || res.ContentLength != int64(len(res.body)) {
		t.Fatalf("%d files, Content-Length %d of %d", len(z.File), res.ContentLength, len(res.body))
	}
	for _, in := range study.Instances {
		f, err := z.Open(in.SeriesInstanceUID + "/" + in.SOPInstanceUID + ".dcm")
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(f) // compares the CRC-32 too
		if err != nil || !bytes.Equal(b, in.Part10()) {
			t.Fatalf("%s: %v", in.SOPInstanceUID, err)
		}
	}
	rest := s.get(t, path(study.Instances[0], "study"), "Accept", "application/zip", "Range", "bytes=30000-", "If-Range", res.Header.Get("ETag"))
	if rest.wantStatus(t, 206); !bytes.Equal(rest.body, res.body[30000:]) {
		t.Fatal("a download cannot be resumed")
	}
	s.get(t, path(study.Instances[0], "instance"), "Accept", "application/zip").wantStatus(t, 406)
}

// TestZIPTagTellsTheOrder: a download that was broken off must not go on in a
// file whose instances are in another order, as they may be once archived.
func TestZIPTagTellsTheOrder(t *testing.T) {
	s := newServer(t)
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 1, Instances: 2, Modality: "CR"})
	s.keep(t, study.Instances...)
	tag := func() string {
		return s.get(t, path(study.Instances[0], "study"), "Accept", "application/zip").Header.Get("ETag")
	}
	before := tag()
	if again := tag(); before == "" || again != before {
		t.Fatalf("%q, and again %q", before, again)
	}
	slices.Reverse(s.instances)
	if after := tag(); after == before {
		t.Errorf("%q in both orders", after)
	}
}
