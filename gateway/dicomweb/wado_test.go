package dicomweb_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// path is the resource of an instance, or of its study or series.
func path(in dicomtest.Instance, level string) string {
	p := "/studies/" + in.StudyInstanceUID
	if level == "study" {
		return p
	}
	if p += "/series/" + in.SeriesInstanceUID; level == "series" {
		return p
	}
	return p + "/instances/" + in.SOPInstanceUID
}

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

func TestRetrieveSingle(t *testing.T) {
	s := newServer(t)
	in := small(1, 1).Instances[0]
	s.keep(t, in)
	want := in.Part10()
	p := path(in, "instance")
	res := s.get(t, p, "Accept", "application/dicom")
	res.wantStatus(t, 200)
	if !bytes.Equal(res.body, want) || res.Header.Get("Content-Type") != "application/dicom; transfer-syntax="+in.TransferSyntaxUID {
		t.Fatalf("%d bytes of %q", len(res.body), res.Header.Get("Content-Type"))
	}
	etag := fmt.Sprintf(`"%s-%x-%08x"`, storage.DigestOf(in.DataSet()), len(want), crc32.ChecksumIEEE(want))
	if res.Header.Get("ETag") != etag {
		t.Fatalf("ETag %s does not tell the digest of the Data Set and the file", res.Header.Get("ETag"))
	}
	size := len(want)
	for _, c := range []struct {
		name, ranged, condition string
		status, from, to        int
	}{
		{"the beginning", "bytes=0-131", "", 206, 0, 132},
		{"the middle", "bytes=100-199", "", 206, 100, 200},
		{"from the middle", "bytes=100-", "", 206, 100, size},
		{"the end", "bytes=-10", "", 206, size - 10, size},
		{"beyond the end", "bytes=100-99999999999", "", 206, 100, size},
		{"more than all from the end", "bytes=-99999999", "", 206, 0, size},
		{"after the end", "bytes=" + strconv.Itoa(size) + "-", "", 416, 0, 0},
		{"no bytes", "bytes=-0", "", 416, 0, 0},
		{"several ranges are the whole", "bytes=0-1,4-5", "", 200, 0, size},
		{"backwards", "bytes=9-1", "", 200, 0, size},
		{"nonsense", "bytes=x-y", "", 200, 0, size},
		{"negative", "bytes=--5", "", 200, 0, size},
		{"too large to be a number", "bytes=0-99999999999999999999", "", 200, 0, size},
		{"no numbers", "bytes=-", "", 200, 0, size},
		{"other units", "frames=1-2", "", 200, 0, size},
		{"the same still", "bytes=0-9", etag, 206, 0, 10},
		{"another since", "bytes=0-9", `"x"`, 200, 0, size},
		{"weakly the same", "bytes=0-9", "W/" + etag, 200, 0, size},
	} {
		t.Run(c.name, func(t *testing.T) {
			header := []string{"Accept", "application/dicom", "Range", c.ranged}
			if c.condition != "" {
				header = append(header, "If-Range", c.condition)
			}
			res := s.get(t, p, header...)
			res.wantStatus(t, c.status)
			if c.status != 416 && !bytes.Equal(res.body, want[c.from:c.to]) {
				t.Fatalf("%d bytes, want %d to %d", len(res.body), c.from, c.to)
			}
			wantRange := map[int]string{
				206: "bytes " + strconv.Itoa(c.from) + "-" + strconv.Itoa(c.to-1) + "/" + strconv.Itoa(size), 416: "bytes */" + strconv.Itoa(size),
			}[c.status]
			if got := res.Header.Get("Content-Range"); got != wantRange {
				t.Fatalf("Content-Range %q, want %q", got, wantRange)
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

func TestFrames(t *testing.T) {
	s := newServer(t)
	native := dicomtest.NewStudy(dicomtest.Options{Seed: 1, Instances: 1, Frames: 3, Modality: "CR"}).Instances[0]
	jpeg := dicomtest.NewStudy(dicomtest.Options{Seed: 2, Instances: 1, Frames: 3, Modality: "CR", TransferSyntaxUID: dicomtest.HTJ2K}).Instances[0]
	deflated := dicomtest.NewStudy(dicomtest.Options{Seed: 3, Instances: 1, Modality: "CR", TransferSyntaxUID: dicomtest.Deflated}).Instances[0]
	s.keep(t, native, jpeg, deflated)
	pixels := native.DataSet()[len(native.DataSet())-2*104*104*3:]
	if !bytes.Equal(pixels, s.get(t, path(native, "instance")+"/bulkdata/7FE00010").body) {
		t.Skip("the generator writes something behind PixelData: this test must learn of it")
	}
	frame := func(n int) []byte { return pixels[(n-1)*2*104*104 : n*2*104*104] }
	const octets = `multipart/related; type="application/octet-stream"`
	t.Run("native", func(t *testing.T) {
		res := s.get(t, path(native, "instance")+"/frames/3,1,3", "Accept", octets)
		res.wantStatus(t, 200)
		bodies, headers := res.parts(t)
		if len(bodies) != 3 || !bytes.Equal(bodies[0], frame(3)) || !bytes.Equal(bodies[1], frame(1)) || !bytes.Equal(bodies[2], frame(3)) {
			t.Fatalf("%d frames, or others", len(bodies))
		}
		if got := headers[1].Get("Content-Location"); got != s.root+path(native, "instance")+"/frames/1" {
			t.Fatalf("Content-Location %q", got)
		}
	})
	t.Run("single part with range", func(t *testing.T) {
		res := s.get(t, path(native, "instance")+"/frames/2", "Accept", "application/octet-stream", "Range", "bytes=10-19")
		if res.wantStatus(t, 206); !bytes.Equal(res.body, frame(2)[10:20]) {
			t.Fatal("other bytes")
		}
	})
	t.Run("encapsulated", func(t *testing.T) {
		layout := s.instances[1].result.Layout.Frames
		for _, accept := range []string{
			"multipart/related; type=application/octet-stream; transfer-syntax=*", `multipart/related; type="image/jphc"`, "*/*",
		} {
			res := s.get(t, path(jpeg, "instance")+"/frames/2", "Accept", accept)
			res.wantStatus(t, 200)
			bodies, headers := res.parts(t)
			want := jpeg.DataSet()[layout.Fragments[layout.FirstFragment[1]].Offset:layout.Fragments[layout.FirstFragment[2]-1].End()]
			if len(bodies) != 1 || !bytes.Equal(bodies[0], want) {
				t.Fatalf("%d frames, or another", len(bodies))
			}
			media := "image/jphc"
			if strings.Contains(accept, "octet") { // the type that the whole says its parts have (RFC 2387 §3.1)
				media = "application/octet-stream"
			}
			if got := headers[0].Get("Content-Type"); got != media+"; transfer-syntax="+dicomtest.HTJ2K {
				t.Fatalf("Content-Type %q", got)
			}
		}
		s.get(t, path(jpeg, "instance")+"/frames/1", "Accept", octets).wantStatus(t, 406)
		s.get(t, path(jpeg, "instance")+"/frames/1", "Accept", "image/jpeg").wantStatus(t, 406)
	})
	t.Run("refused", func(t *testing.T) {
		for list, status := range map[string]int{
			"4": 404, "1,4": 404, "2147483648": 404, "99999999999999999999": 404, "2147483647": 404,
			"0": 400, "-1": 400, "x": 400, "1,,2": 400, "+1": 400, "1%2C2x": 400, "%201": 400,
			strings.Repeat("1,", 1999) + "1": 400,
		} {
			s.get(t, path(native, "instance")+"/frames/"+list).wantStatus(t, status)
		}
		s.get(t, path(deflated, "instance")+"/frames/1").wantStatus(t, 501)
		s.get(t, path(native, "instance")+"/frames/1", "Accept", "image/png").wantStatus(t, 406)
		for _, resource := range []string{"/rendered", "/thumbnail", "/frames/1/rendered"} {
			s.get(t, path(native, "instance")+resource).wantStatus(t, 501)
		}
	})
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
	res := s.get(t, path(study.Instances[0], "instance"), "Accept", "application/dicom")
	res.wantStatus(t, 500)
	if strings.Contains(string(res.body), "missing.dcm") {
		t.Fatalf("the answer tells of this machine: %s", res.body)
	}
}

// TestNativeFramesAreExplicit: frames of Implicit VR are those of Explicit VR,
// byte by byte, and clients ask for the latter.
func TestNativeFramesAreExplicit(t *testing.T) {
	s := newServer(t)
	in := dicomtest.NewStudy(dicomtest.Options{Seed: 1, Modality: "CR", TransferSyntaxUID: dicomtest.ImplicitLE}).Instances[0]
	s.keep(t, in)
	for _, syntax := range []string{"", "; transfer-syntax=*", "; transfer-syntax=" + dicomtest.ExplicitLE} {
		res := s.get(t, path(in, "instance")+"/frames/1", "Accept", "application/octet-stream"+syntax)
		res.wantStatus(t, 200)
		if got := res.Header.Get("Content-Type"); got != "application/octet-stream; transfer-syntax="+dicomtest.ExplicitLE {
			t.Errorf("%q: %q", syntax, got)
		}
	}
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

// TestTagsTellFilesApart: the same Data Set in another file, as it may come
// again after it was deleted, is no part of the one that was begun.
func TestTagsTellFilesApart(t *testing.T) {
	in := dicomtest.NewStudy(dicomtest.Options{Seed: 1, Instances: 1, Modality: "CR"}).Instances[0]
	other := in.Part10()
	other[0] = 'x' // of the preamble
	tags := map[string]bool{}
	frames := map[string]bool{}
	for _, file := range [][]byte{in.Part10(), other} {
		s := newServer(t)
		contentType, body := stowBody(file)
		s.post(t, "/studies", contentType, body).wantStatus(t, 200)
		whole := s.get(t, path(in, "instance"), "Accept", "application/dicom")
		if !bytes.Equal(whole.body, file) {
			t.Errorf("another file was sent")
		}
		for _, res := range []reply{whole, s.get(t, path(in, "study"), "Accept", "application/zip"), s.get(t, path(in, "study"))} {
			tags[res.Header.Get("ETag")] = true
		}
		frames[s.get(t, path(in, "instance")+"/frames/1", "Accept", "application/octet-stream").Header.Get("ETag")] = true
	}
	if len(tags) != 6 || tags[""] {
		t.Errorf("the tags of two files, two ZIP files and two of parts are %v", tags)
	}
	if len(frames) != 1 || frames[""] {
		t.Errorf("the tags of the same frame are %v", frames)
	}
}
