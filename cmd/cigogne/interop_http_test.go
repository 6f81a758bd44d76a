package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// curl asks as a shell user does. The last header is taken, after those of
// 100 Continue.
func curl(t *testing.T, args ...string) answered {
	t.Helper()
	dir := t.TempDir()
	head, body := filepath.Join(dir, "head"), filepath.Join(dir, "body")
	args = append([]string{"-sS", "--max-time", "30", "-D", head, "-o", body, "-w", "%{http_code}"}, args...)
	status, err := strconv.Atoi(mustRun(t, tool(t, "curl"), args...))
	if err != nil {
		t.Fatal(err)
	}
	c := answered{status: status, header: http.Header{}}
	text, err := os.ReadFile(head)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			c.header.Add(name, strings.TrimSpace(value))
		}
	}
	if c.body, err = os.ReadFile(body); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return c
}

// curlStudy is a study that curl has stored: a multipart body made by hand,
// announced with Expect: 100-continue.
func curlStudy(t *testing.T, node *process) []dicomtest.Instance {
	t.Helper()
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 77, Instances: 3, PatientName: "Zoë^Éléonore", CharacterSet: "ISO_IR 192"})
	var body bytes.Buffer
	for _, in := range study.Instances {
		fmt.Fprintf(&body, "--here\r\nContent-Type: application/dicom\r\n\r\n%s\r\n", fileOf(in))
	}
	body.WriteString("--here--")
	path := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(path, body.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, expect := range []string{"Expect: 100-continue", "Expect:"} {
		c := curl(t, "-H", expect, "-H", `Content-Type: multipart/related; type="application/dicom"; boundary=here`,
			"-H", "Accept: application/dicom+json", "--data-binary", "@"+path, node.web+"/dicom-web/studies")
		if c.status != http.StatusOK || bytes.Count(c.body, []byte(`"00081155"`)) != 3 {
			t.Fatalf("%s: %d\n%s", expect, c.status, c.body)
		}
	}
	return study.Instances
}

// TestCurlSearches asks in every style that clients write.
func TestCurlSearches(t *testing.T) {
	t.Parallel()
	node := serveQuiet(t)
	in := curlStudy(t, node)[0]
	for query, found := range map[string]int{
		"studies":                                  1,
		"studies?PatientName=zoe*":                 1,
		"studies?00100010=ZO%C3%8B%5Eeleonore":     1,
		"studies?PatientName=zo%3F%5Ee*":           1,
		"studies?PatientName=Nobody":               0,
		"studies?StudyDate=19000101-":              1,
		"studies?StudyDate=-19000101":              0,
		"studies?ModalitiesInStudy=CT&limit=1":     1,
		"studies?ModalitiesInStudy=MR":             0,
		"studies?offset=1":                         0,
		"studies?includefield=all":                 1,
		"studies?includefield=00081030,PatientSex": 1,
		"studies?includefield=00081030&includefield=StudyTime&fuzzymatching=true": 1,
		"studies?StudyInstanceUID=1.2.3," + in.StudyInstanceUID:                   1,
		"studies?StudyInstanceUID=1.2.3%5C" + in.StudyInstanceUID:                 1,
		"studies/" + in.StudyInstanceUID + "/series":                              1,
		"series?Modality=CT":                                             1,
		"instances?SOPInstanceUID=" + in.SOPInstanceUID:                  1,
		"studies/" + in.StudyInstanceUID + "/instances?InstanceNumber=2": 1,
		"studies/" + in.StudyInstanceUID + "/series/" + in.SeriesInstanceUID + "/instances?limit=2&offset=1": 2,
	} {
		for _, accept := range []string{"application/dicom+json", "application/json", "*/*", "application/dicom+json, application/json;q=0.5"} {
			c := curl(t, "-g", "-H", "Accept: "+accept, node.web+"/dicom-web/"+query)
			if c.status != http.StatusOK || bytes.Count(c.body, []byte(`"0020000D"`)) != found {
				t.Errorf("%s as %s: %d\n%.300s", query, accept, c.status, c.body)
			}
		}
	}
	for query, status := range map[string]int{"studies?PatientNam=x": 400, "studies?limit=many": 400, "study": 404} {
		if c := curl(t, node.web+"/dicom-web/"+query); c.status != status || len(c.body) == 0 {
			t.Errorf("%s: %d %s, want %d", query, c.status, c.body, status)
		}
	}
}

// TestCurlRetrieves looks at ranges, HEAD, validators and content codings, of
// an instance in the journal and then in a pack.
func TestCurlRetrieves(t *testing.T) {
	t.Parallel()
	node := serveQuiet(t, "--settle", "50ms")
	in := curlStudy(t, node)[0]
	file, url := fileOf(in), instanceURL(node.web, keyOf(in))
	single := []string{"-H", "Accept: application/dicom", url}
	for _, where := range []string{"journal", "pack"} {
		whole := curl(t, single...)
		if whole.status != http.StatusOK || !bytes.Equal(whole.body, file) || whole.header.Get("Content-Length") != strconv.Itoa(len(file)) {
			t.Errorf("%s: %d, %d bytes, %v", where, whole.status, len(whole.body), whole.header)
		}
		for asked, want := range map[string][]byte{"0-99": file[:100], "1000-": file[1000:], "-50": file[len(file)-50:]} {
			c := curl(t, append([]string{"-r", asked}, single...)...)
			if c.status != http.StatusPartialContent || !bytes.Equal(c.body, want) || c.header.Get("Content-Range") == "" {
				t.Errorf("%s, range %s: %d, %d bytes, %v", where, asked, c.status, len(c.body), c.header)
			}
		}
		if c := curl(t, append([]string{"-r", "999999999-"}, single...)...); c.status != http.StatusRequestedRangeNotSatisfiable {
			t.Errorf("%s: a range beyond the end: %d", where, c.status)
		}
		head := curl(t, append([]string{"-I"}, single...)...)
		if head.status != http.StatusOK || head.header.Get("Content-Length") != strconv.Itoa(len(file)) {
			t.Errorf("%s: HEAD: %d %v", where, head.status, head.header)
		}
		etag := whole.header.Get("Etag")
		if c := curl(t, append([]string{"-H", "If-None-Match: " + etag}, single...)...); etag == "" || c.status != http.StatusNotModified || len(c.body) > 0 {
			t.Errorf("%s: ETag %q: %d, %d bytes", where, etag, c.status, len(c.body))
		}
		if c := curl(t, append([]string{"-H", "Accept-Encoding: gzip, br"}, single...)...); c.header.Get("Content-Encoding") != "" || !bytes.Equal(c.body, file) {
			t.Errorf("%s: coded as %q", where, c.header.Get("Content-Encoding"))
		}
		if c := curl(t, "--compressed", node.web+"/dicom-web/studies/"+in.StudyInstanceUID+"/metadata"); bytes.Count(c.body, []byte(`"00080018":`)) != 3 {
			t.Errorf("%s: metadata asked for compressed: %d, %d bytes", where, c.status, len(c.body))
		}
		node.archived()
	}
}

// TestViewersAccept retrieves with the Accept headers that clients are known
// to send, quoted or not.
func TestViewersAccept(t *testing.T) {
	t.Parallel()
	node := serveQuiet(t)
	in := curlStudy(t, node)[0]
	instance := instanceURL(node.web, keyOf(in))
	studyURL := node.web + "/dicom-web/studies/" + in.StudyInstanceUID
	const related = "multipart/related"
	for _, c := range []struct{ url, accept, want string }{
		{instance + "/frames/1", likeOHIF, related},
		{instance + "/frames/1", `multipart/related; type="application/octet-stream"; transfer-syntax=*`, related},
		{instance + "/frames/1", "multipart/related; type=application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1", related},
		{instance + "/frames/1", "multipart/related; type=image/jls; q=0.9, multipart/related; type=application/octet-stream; transfer-syntax=*; q=0.3", related},
		{instance + "/frames/1", "*/*", related},
		{instance + "/frames/1", "application/octet-stream; transfer-syntax=*", "application/octet-stream"},
		{instance, "multipart/related; type=application/dicom; transfer-syntax=*", related},
		{instance, `multipart/related; type="application/dicom"`, related},
		{instance, "application/dicom; transfer-syntax=*", "application/dicom"},
		{studyURL, "multipart/related; type=application/dicom", related},
		{studyURL, "application/zip", "application/zip"},
		{studyURL + "/metadata", "application/dicom+json", "application/dicom+json"},
		{studyURL + "/metadata", "application/json, text/plain, */*", "application/"},
	} {
		got := curl(t, "-H", "Accept: "+c.accept, c.url)
		if got.status != http.StatusOK || !strings.HasPrefix(got.header.Get("Content-Type"), c.want) {
			t.Errorf("%s as %s: %d, %s\n%.200s", c.url, c.accept, got.status, got.header.Get("Content-Type"), got.body)
		}
	}
	if c := curl(t, "-H", "Accept: multipart/related; type=image/jpeg", instance+"/frames/1"); c.status != http.StatusNotAcceptable || len(c.body) == 0 {
		t.Errorf("a picture of native pixels: %d", c.status)
	}
}

// readByEmail parses a multipart answer with the parser that Python has for
// e-mail, as dicomweb-client does, and prints the parts' types and lengths.
const readByEmail = `
import email, email.policy, sys, urllib.request
q = urllib.request.Request(sys.argv[1], headers={'Accept': sys.argv[2]})
with urllib.request.urlopen(q) as r:
    raw = b'Content-Type: ' + r.headers['Content-Type'].encode() + b'\r\n\r\n' + r.read()
m = email.message_from_bytes(raw, policy=email.policy.HTTP)
assert m.is_multipart() and not m.defects, m.defects
for p in m.get_payload():
    assert not p.defects, p.defects
    print(p.get_content_type(), len(p.get_payload(decode=True)))
`

// TestPythonEmailReadsMultipart counts on a parser that is not ours and not
// Go's.
func TestPythonEmailReadsMultipart(t *testing.T) {
	t.Parallel()
	python := tool(t, "python3")
	node := serveQuiet(t)
	instances := curlStudy(t, node)
	var want strings.Builder
	for _, in := range instances {
		fmt.Fprintf(&want, "application/dicom %d\n", len(fileOf(in)))
	}
	url := node.web + "/dicom-web/studies/" + instances[0].StudyInstanceUID
	if got := mustRun(t, python, "-c", readByEmail, url, `multipart/related; type="application/dicom"`); got != want.String() {
		t.Errorf("Python reads\n%s, want\n%s", got, want.String())
	}
	got := mustRun(t, python, "-c", readByEmail, instanceURL(node.web, keyOf(instances[0]))+"/frames/1", likeOHIF)
	if got != "application/octet-stream 524288\n" {
		t.Errorf("Python reads a frame as %s", got)
	}
}

func fileOf(in dicomtest.Instance) []byte {
	return append(dicomtest.FileMeta(in.SOPClassUID, in.SOPInstanceUID, in.TransferSyntaxUID), in.DataSet()...)
}
