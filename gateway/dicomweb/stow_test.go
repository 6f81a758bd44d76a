package dicomweb_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/gateway/dicomweb"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

func small(seed uint64, instances int) dicomtest.Study {
	return dicomtest.NewStudy(dicomtest.Options{Seed: seed, Instances: instances, Modality: "CR"})
}

// outcome reads the Store Instances Response.
type outcome struct {
	Stored []map[string]attribute // ReferencedSOPSequence
	Failed []map[string]attribute // FailedSOPSequence
	Other  []map[string]attribute // OtherFailuresSequence
	url    string                 // RetrieveURL's Value
}

func (r reply) outcome(t testing.TB) outcome {
	t.Helper()
	var raw map[string]struct {
		VR    string          `json:"vr"`
		Value json.RawMessage `json:"Value"`
	}
	if err := json.Unmarshal(r.body, &raw); err != nil {
		t.Fatalf("%v: %s", err, clipped(r.body))
	}
	if raw["00081190"].VR != "UR" {
		t.Fatalf("no RetrieveURL, which is of type 2: %s", clipped(r.body))
	}
	var o outcome
	for tag, into := range map[string]*[]map[string]attribute{"00081199": &o.Stored, "00081198": &o.Failed, "0008119A": &o.Other} {
		if sequence, ok := raw[tag]; ok {
			if err := json.Unmarshal(sequence.Value, into); err != nil || sequence.VR != "SQ" {
				t.Fatalf("%s: %v", tag, err)
			}
		}
	}
	o.url = string(raw["00081190"].Value)
	return o
}

// TestStoredAndNotFoundYet: what is safe is said to be stored, and the answer
// warns when queries may miss it.
func TestStoredAndNotFoundYet(t *testing.T) {
	for why, warned := range map[error]bool{nil: false, storage.ErrUnavailable: true} {
		s := newServer(t, func(o *dicomweb.Options) { o.Visible = func(context.Context) error { return why } })
		contentType, body := stowBody(small(1, 1).Instances[0].Part10())
		res := s.post(t, "/studies", contentType, body)
		res.wantStatus(t, http.StatusOK)
		if stored := res.outcome(t).Stored; len(stored) != 1 || slices.Contains(res.Header.Values("Warning"), dicomweb.NotFoundYet) != warned {
			t.Errorf("%v: %d stored, %v", why, len(stored), res.Header)
		}
	}
}

func TestStoreAnswersPerInstance(t *testing.T) {
	study := small(1, 3)
	other := small(2, 1)
	good, also, third := study.Instances[0].Part10(), study.Instances[1].Part10(), study.Instances[2].Part10()
	cut := also[:len(also)-100]
	alien := other.Instances[0].Part10()
	path := "/studies/" + study.StudyInstanceUID
	fail := func(err error) func(storage.InstanceKey) error { return func(storage.InstanceKey) error { return err } }
	for _, c := range []struct {
		name    string
		path    string
		files   [][]byte
		fail    func(storage.InstanceKey) error
		status  int
		stored  int
		reasons []int // of failures, known and other
	}{
		{"all stored", path, [][]byte{good, also, third}, nil, 200, 3, nil},
		{"the same bytes twice are one instance", path, [][]byte{good, good}, nil, 200, 2, nil},
		{"a bad part does not spoil its neighbours", path, [][]byte{good, cut, third}, nil, 202, 2, []int{49152}},
		{"what is no DICOM has no name", "/studies", [][]byte{good, []byte("hello"), third}, nil, 202, 2, []int{49152}},
		{"an empty part", "/studies", [][]byte{{}, good}, nil, 202, 1, []int{49152}},
		{"too slow", path, [][]byte{good}, fail(context.DeadlineExceeded), 503, 0, []int{42752}},
		{"of another study", path, [][]byte{good, alien}, nil, 202, 1, []int{43264}},
		{"all of another study", path, [][]byte{alien}, nil, 409, 0, []int{43264}},
		{"no space", path, [][]byte{good, also}, fail(storage.ErrFull), 507, 0, []int{42752, 42752}},
		{"unavailable", path, [][]byte{good, also}, fail(storage.ErrUnavailable), 503, 0, []int{42752, 42752}},
		{"forbidden", path, [][]byte{good}, fail(storage.ErrForbidden), 403, 0, []int{292}},
		{"unsupported", path, [][]byte{good}, fail(storage.ErrUnsupported), 409, 0, []int{290}},
		{"broken", path, [][]byte{good}, fail(errBroken), 409, 0, []int{272}},
		{"no space for one", path, [][]byte{good, also}, func(k storage.InstanceKey) error {
			if k.SOPInstanceUID == study.Instances[0].SOPInstanceUID {
				return storage.ErrFull
			}
			return nil
		}, 202, 1, []int{42752}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			s.fail = c.fail
			contentType, body := stowBody(c.files...)
			res := s.post(t, c.path, contentType, body)
			res.wantStatus(t, c.status)
			o := res.outcome(t)
			var reasons []int
			for _, f := range append(o.Failed, o.Other...) {
				reasons = append(reasons, int(f["00081197"].first().(float64)))
			}
			if len(o.Stored) != c.stored || fmt.Sprint(reasons) != fmt.Sprint(c.reasons) {
				t.Fatalf("%d stored, reasons %v; want %d, %v", len(o.Stored), reasons, c.stored, c.reasons)
			}
			for _, in := range o.Stored {
				url := in["00081190"].first().(string)
				if got := s.get(t, strings.TrimPrefix(url, s.root), "Accept", "application/dicom"); got.StatusCode != http.StatusOK {
					t.Fatalf("RetrieveURL %s: %s", url, got.Status)
				}
				if in["00081150"].first() != study.Instances[0].SOPClassUID {
					t.Fatalf("ReferencedSOPClassUID %v", in["00081150"])
				}
			}
			want := ""
			if c.stored > 0 {
				want = `["` + s.root + path + `"]`
			}
			if o.url != want {
				t.Fatalf("RetrieveURL %s, want %s", o.url, want)
			}
			if c.status == 503 && res.Header.Get("Retry-After") == "" {
				t.Fatal("503 without Retry-After")
			}
		})
	}
}

// TestStoreConflict: another Data Set under a SOPInstanceUID that is taken is
// kept aside, and can be listed and retrieved from there.
func TestStoreConflict(t *testing.T) {
	s := newServer(t)
	in := small(1, 1).Instances[0]
	s.keep(t, in)
	twin := in.Part10()
	twin[len(twin)-1] ^= 0xFF
	contentType, body := stowBody(twin)
	res := s.post(t, "/studies", contentType, body)
	res.wantStatus(t, 202)
	o := res.outcome(t)
	if len(o.Stored) != 1 || o.Stored[0]["00081196"].first() != float64(45056) {
		t.Fatalf("want WarningReason B000: %s", res.body)
	}
	list := s.get(t, "/conflicts")
	list.wantStatus(t, 200)
	all := list.array(t)
	if len(all) != 1 {
		t.Fatalf("%d conflicts listed", len(all))
	}
	url := all[0]["00081190"].first().(string)
	if url != o.Stored[0]["00081190"].first() {
		t.Fatalf("listed as %s, stored as %v", url, o.Stored[0]["00081190"])
	}
	for where, want := range map[string][]byte{url: twin, strings.Replace(url, "/conflicts", "", 1): in.Part10()} {
		got := s.get(t, strings.TrimPrefix(where, s.root), "Accept", "application/dicom")
		if got.wantStatus(t, 200); !bytes.Equal(got.body, want) {
			t.Fatalf("%s: other bytes", where)
		}
	}
}

func TestStoreSingleBody(t *testing.T) {
	s := newServer(t)
	file := small(1, 1).Instances[0].Part10()
	s.post(t, "/studies", "application/dicom", bytes.NewReader(file)).wantStatus(t, 200)
	s.post(t, "/studies", "application/dicom", strings.NewReader("")).wantStatus(t, 400)
	s.post(t, "/studies", "application/dicom", bytes.NewReader(file[:300])).wantStatus(t, 409)
	if len(s.sorted()) != 1 {
		t.Fatalf("stored %v", s.sorted())
	}
}

func TestStoreRefusals(t *testing.T) {
	file := string(small(1, 1).Instances[0].Part10())
	part := "--border\r\nContent-Type: application/dicom\r\n\r\n" + file + "\r\n"
	const uuids = "40b4290b-0b2e-455e-9a7e-95e4dc4c66c0-40b4290b-0b2e-455e-9a7e-95e4dc4c66c0"
	limited := func(o *dicomweb.Options) {
		o.Limits = dicomweb.Limits{MaxStore: 120_000, MaxInstance: 50_000, MaxParts: 3}
	}
	long := part[:len(part)-2] + strings.Repeat("\x00", 60_000) + "\r\n"
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	z.Write(make([]byte, 1<<20))
	z.Close()
	for _, c := range []struct {
		name        string
		contentType string
		body        string
		header      []string
		status      int
		stored      int
	}{
		{"fine", stowType, part + "--border--", nil, 200, 1},
		{"unquoted type", "multipart/related;type=application/dicom;boundary=border", part + "--border--", nil, 200, 1},
		{"no type", "multipart/related; boundary=border", part + "--border--", nil, 200, 1},
		{"preamble and epilogue", stowType, "hello\r\n" + part + "--border--\r\nbye", nil, 200, 1},
		{"boundary of two UUIDs", `multipart/related; type="application/dicom"; boundary=` + uuids, strings.ReplaceAll(part, "border", uuids) + "--" + uuids + "--", nil, 200, 1}, // as Orthanc writes
		{"no content type", "", part, nil, 415, 0},
		{"form", "multipart/form-data; boundary=border", part + "--border--", nil, 415, 0},
		{"metadata in JSON", `multipart/related; type="application/dicom+json"; boundary=border`, part, nil, 415, 0},
		{"metadata in XML", `multipart/related; type="application/dicom+xml"; boundary=border`, part, nil, 415, 0},
		{"compressed body", stowType, bomb.String(), []string{"Content-Encoding", "gzip"}, 415, 0},
		{"answer in XML", stowType, part + "--border--", []string{"Accept", "application/dicom+xml"}, 406, 0},
		{"no boundary", `multipart/related; type="application/dicom"`, part, nil, 400, 0},
		{"boundary of 64 KB", stowType + strings.Repeat("x", 64<<10), part, nil, 400, 0},
		{"empty body", stowType, "", nil, 400, 0},
		{"no part", stowType, "--border--\r\n", nil, 400, 0},
		{"no delimiter", stowType, strings.Repeat("x", 90_000), nil, 400, 0},
		{"broken off", stowType, part + part[:2000], nil, 400, 1},
		{"no close delimiter", stowType, part, nil, 400, 0},
		{"100000 part headers", stowType, "--border\r\n" + strings.Repeat("A: b\r\n", 100_000)[:90_000] + "\r\n", nil, 400, 0},
		{"a part header that is none", stowType, "--border\r\nhello\r\n\r\n--border--", nil, 400, 0},
		{"an instance too long", stowType, long + "--border--", nil, 413, 0},
		{"one of two too long", stowType, part + long + "--border--", nil, 202, 1},
		{"body too long", stowType, strings.Repeat(part, 7) + "--border--", nil, 413, 0},
		{"too many parts", stowType, strings.Repeat("--border\r\n\r\nx\r\n", 4) + "--border--", nil, 413, 0},
		{"a part in base64", stowType, strings.Replace(part, "\r\n\r\n", "\r\nContent-Transfer-Encoding: base64\r\n\r\n", 1) + "--border--", nil, 409, 0},
		{"a part of another type", stowType, strings.Replace(part, "/dicom", "/pdf", 1) + "--border--", nil, 409, 0},
		{"a part without a type", stowType, "--border\r\n\r\n" + file + "\r\n--border--", nil, 200, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t, limited)
			res := s.post(t, "/studies", c.contentType, strings.NewReader(c.body), c.header...)
			res.wantStatus(t, c.status)
			if got := len(s.sorted()); got != c.stored {
				t.Fatalf("%d instances stored, want %d: %s", got, c.stored, clipped(res.body))
			}
		})
	}
	s := newServer(t, limited)
	s.post(t, "/studies/..%2f..%2fx", stowType, strings.NewReader(part+"--border--")).wantStatus(t, 400)
	s.post(t, "/studies/1.2.3%0d%0aX:1", stowType, strings.NewReader(part+"--border--")).wantStatus(t, 400)
	s.post(t, "/studies/"+strings.Repeat("1", 65), stowType, strings.NewReader(part+"--border--")).wantStatus(t, 400)
	s.post(t, "/series", stowType, strings.NewReader(part)).wantStatus(t, 405)
	s.post(t, "/nothing", stowType, strings.NewReader(part)).wantStatus(t, 404)
}

// TestStoreSharesFsyncs: instances wait for durability while the next are
// read.
func TestStoreSharesFsyncs(t *testing.T) {
	s := newServer(t, func(o *dicomweb.Options) {
		o.Limits = dicomweb.Limits{PendingWindow: 8, DurableTimeout: 10 * time.Second}
	})
	s.together, s.reached = 8, make(chan struct{}) // fails when they come one by one
	s.keep(t, small(1, 40).Instances...)
	if got := len(s.sorted()); got != 40 {
		t.Fatalf("%d stored", got)
	}
	if s.waits != 0 {
		t.Fatalf("%d were never waited for", s.waits)
	}
}

// TestStoreExpectContinue drives the real curl: it must be told 415 before it
// sends the body, and 100 Continue otherwise.
func TestStoreExpectContinue(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("curl is not installed")
	}
	s := newServer(t)
	file := filepath.Join(t.TempDir(), "instance.dcm")
	if err := os.WriteFile(file, small(1, 1).Instances[0].Part10(), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		contentType string
		status      string
		continued   bool
	}{{"application/dicom", "200", true}, {"image/png", "415", false}} {
		cmd := exec.CommandContext(t.Context(), curl, "-sv", "-m", "20", "--expect100-timeout", "15", "-H", "Expect: 100-continue",
			"-H", "Content-Type: "+c.contentType, "--data-binary", "@"+file, "-w", "%{http_code} %{size_upload}", s.root+"/studies")
		var log bytes.Buffer
		cmd.Stderr = &log
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("curl: %v\n%s", err, log.String())
		}
		if got := strings.Contains(log.String(), "100 Continue"); got != c.continued {
			t.Fatalf("%s: continued %t\n%s", c.contentType, got, log.String())
		}
		if !strings.Contains(string(out), c.status+" ") || !c.continued && !strings.HasSuffix(string(out), " 0") {
			t.Fatalf("%s: %s", c.contentType, out)
		}
	}
}

func TestStoreFromAnotherMethod(t *testing.T) {
	s := newServer(t)
	res := s.do(t, http.MethodDelete, "/studies/1.2.3", nil, nil)
	res.wantStatus(t, 405)
	if got := res.Header.Get("Allow"); got != "GET, POST" {
		t.Fatalf("Allow %q", got)
	}
}

// TestStoreSeveralStudies: no one study's URL stands for them all.
func TestStoreSeveralStudies(t *testing.T) {
	s := newServer(t)
	contentType, body := stowBody(small(1, 1).Instances[0].Part10(), small(2, 1).Instances[0].Part10())
	res := s.post(t, "/studies", contentType, body)
	if o := res.outcome(t); res.StatusCode != http.StatusOK || len(o.Stored) != 2 || o.url != "" {
		t.Fatalf("%s, %+v", res.Status, o)
	}
}
