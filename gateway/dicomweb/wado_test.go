package dicomweb_test

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

func TestRetrieveMultipart(t *testing.T) {
	s := newServer(t)
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 1, Series: 2, Instances: 3, Modality: "CR"})
	s.keep(t, study.Instances...)
	for level, want := range map[string][]dicomtest.Instance{
		"study": study.Instances, "series": study.Instances[:3], "instance": study.Instances[:1],
	} {
		t.Run(level, func(t *testing.T) {
			p := path(study.Instances[0], level)
			res := s.get(t, p, "Accept", `multipart/related; type="application/dicom"; transfer-syntax=*`)
			res.wantStatus(t, 200)
			bodies, headers := res.parts(t)
			if len(bodies) != len(want) {
				t.Fatalf("%d parts, want %d", len(bodies), len(want))
			}
			for i, in := range want {
				if !bytes.Equal(bodies[i], in.Part10()) {
					t.Fatalf("part %d has other bytes", i)
				}
				if got := headers[i].Get("Content-Type"); got != "application/dicom; transfer-syntax="+in.TransferSyntaxUID {
					t.Fatalf("part %d: Content-Type %q", i, got)
				}
				if got := headers[i].Get("Content-Location"); got != s.root+path(in, "instance") {
					t.Fatalf("part %d: Content-Location %q", i, got)
				}
			}
			if res.ContentLength != int64(len(res.body)) {
				t.Fatalf("Content-Length %d of %d bytes", res.ContentLength, len(res.body))
			}
			head := s.do(t, http.MethodHead, p, nil, nil)
			if head.wantStatus(t, 200); head.ContentLength != res.ContentLength || len(head.body) != 0 {
				t.Fatalf("HEAD says %d, GET %d", head.ContentLength, res.ContentLength)
			}
			if again := s.get(t, p, "If-None-Match", res.Header.Get("ETag")); again.StatusCode != http.StatusNotModified || len(again.body) > 0 {
				t.Fatalf("If-None-Match: %s", again.Status)
			}
		})
	}
}

// TestRetrieveFile: a file goes out whole and in ranges, through the way that
// leaves it to the kernel.
func TestRetrieveFile(t *testing.T) {
	s := newServer(t)
	in := dicomtest.NewStudy(dicomtest.Options{Seed: 1, Instances: 1, Frames: 8}).Instances[0]
	s.keep(t, in)
	file := filepath.Join(t.TempDir(), "instance.dcm")
	want := in.Part10()
	if err := os.WriteFile(file, want, 0o600); err != nil {
		t.Fatal(err)
	}
	s.instances[0].file = file
	for _, r := range []string{"bytes=0-", "bytes=1000000-3999999"} {
		res := s.get(t, path(in, "instance"), "Accept", "application/dicom", "Range", r)
		res.wantStatus(t, 206)
		from, to := 0, len(want)
		if r != "bytes=0-" {
			from, to = 1_000_000, 4_000_000
		}
		if !bytes.Equal(res.body, want[from:to]) {
			t.Fatalf("%s: other bytes", r)
		}
	}
}

func TestRetrieveRefusals(t *testing.T) {
	s := newServer(t)
	in := small(1, 1).Instances[0]
	s.keep(t, in)
	for _, c := range []struct {
		path   string
		accept string
		status int
	}{
		{"/studies/1.2.3", "", 404},
		{path(in, "study") + "/series/1.2", "", 404},
		{path(in, "series") + "/instances/1.2", "", 404},
		{"/studies/../x", "", 404},
		{"/studies/..%2f..%2fetc%2fpasswd", "", 400},
		{"/studies/%00", "", 400},
		{"/studies/1.2.%0d%0aSet-Cookie:x=1", "", 400},
		{"/studies/" + strings.Repeat("1", 65), "", 400},
		{"/studies/abc/series/1", "", 400},
		{"/conflicts" + path(in, "study"), "", 404},
		{"/nothing", "", 404},
		{path(in, "study") + "/nothing", "", 404},
		{path(in, "study"), "application/dicom", 406},
		{path(in, "study"), `multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.50`, 406},
		{path(in, "study"), `multipart/related; type="image/jpeg"`, 406},
		{path(in, "study"), strings.Repeat("x", 20<<10), 400},
	} {
		t.Run(c.path[:min(len(c.path), 60)]+" "+c.accept[:min(len(c.accept), 40)], func(t *testing.T) {
			var header []string
			if c.accept != "" {
				header = []string{"Accept", c.accept}
			}
			res := s.get(t, c.path, header...)
			res.wantStatus(t, c.status)
			if res.Header.Get("Set-Cookie") != "" || res.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Fatalf("header %v", res.Header)
			}
		})
	}
}

// TestRetrieveMixedSyntaxes: of instances that are stored differently all are
// sent when one is as asked for, and each part says what it is.
func TestRetrieveMixedSyntaxes(t *testing.T) {
	s := newServer(t)
	study := small(1, 2)
	other := study.Instances[1]
	other.TransferSyntaxUID = dicomtest.ImplicitLE
	s.keep(t, study.Instances[0], other)
	res := s.get(t, path(other, "study"), "Accept", `multipart/related; type="application/dicom"; transfer-syntax=`+dicomtest.ImplicitLE)
	res.wantStatus(t, 200)
	if bodies, _ := res.parts(t); len(bodies) != 2 {
		t.Fatalf("%d parts", len(bodies))
	}
}

// TestRetrieveBreaksOff: when stored bytes cannot be read to the end, the
// client must see a broken connection and never a short body.
func TestRetrieveBreaksOff(t *testing.T) {
	s := newServer(t)
	study := small(1, 2)
	s.keep(t, study.Instances...)
	file := filepath.Join(t.TempDir(), "short.dcm")
	if err := os.WriteFile(file, study.Instances[1].Part10()[:9000], 0o600); err != nil {
		t.Fatal(err)
	}
	s.instances[1].file = file
	for _, accept := range []string{"*/*", "application/zip"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.root+path(study.Instances[0], "study"), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", accept)
		res, err := s.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = io.ReadAll(res.Body); err == nil {
			t.Fatalf("%s: a short body was taken for whole", accept)
		}
		res.Body.Close()
	}
	// Before the first byte it is an answer instead.
	s.instances[0].file = filepath.Join(t.TempDir(), "missing.dcm")
	for _, c := range []struct{ level, accept string }{
		{"instance", "application/dicom"}, {"instance", "multipart/related"}, {"study", "multipart/related"}, {"study", "application/zip"},
	} {
		res := s.get(t, path(study.Instances[0], c.level), "Accept", c.accept)
		res.wantStatus(t, 500)
		if strings.Contains(string(res.body), "missing.dcm") {
			t.Fatalf("the answer tells of this machine: %s", res.body)
		}
	}
}
