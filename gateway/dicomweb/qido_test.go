package dicomweb_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/gateway/dicomweb"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

func TestSearchLevels(t *testing.T) {
	s := newServer(t)
	first := dicomtest.NewStudy(dicomtest.Options{Seed: 1, Series: 2, Instances: 3, Modality: "CR", PatientID: "P1"})
	second := dicomtest.NewStudy(dicomtest.Options{Seed: 2, Instances: 2, Modality: "CR", PatientID: "P2"})
	s.keep(t, append(first.Instances, second.Instances...)...)
	in := first.Instances[4] // in the second series
	for _, c := range []struct {
		path  string
		count int
		url   string // of the first result
	}{
		{"/studies", 2, path(in, "study")},
		{"/studies?PatientID=P2", 1, path(second.Instances[0], "study")},
		{"/studies?00100020=P2", 1, path(second.Instances[0], "study")},
		{"/studies?PatientID=P*", 2, path(in, "study")},
		{"/studies?PatientID=", 2, path(in, "study")},
		{"/studies?PatientID=nobody", 0, ""},
		{"/studies?limit=1", 1, path(in, "study")},
		{"/studies?limit=1&offset=1", 1, path(second.Instances[0], "study")},
		{"/studies?limit=0", 0, ""},
		{"/studies?offset=7", 0, ""},
		{"/studies?_=1700000000", 2, path(in, "study")},
		{"/studies?limit=101&offset=0&fuzzymatching=false&includefield=00081030%2C00080060%2C00080090%2C00100030", 2, path(in, "study")},
		{"/series", 3, path(first.Instances[0], "series")},
		{path(in, "study") + "/series", 2, path(first.Instances[0], "series")},
		{"/instances", 8, path(first.Instances[0], "instance")},
		{path(in, "study") + "/instances", 6, path(first.Instances[0], "instance")},
		{path(in, "series") + "/instances", 3, path(first.Instances[3], "instance")},
		{"/studies/1.2.3/series", 0, ""},
	} {
		t.Run(c.path, func(t *testing.T) {
			res := s.get(t, c.path)
			res.wantStatus(t, 200)
			all := res.array(t)
			if len(all) != c.count || res.Header.Get("Warning") != "" || res.ContentLength != int64(len(res.body)) {
				t.Fatalf("%d results, want %d; Warning %q", len(all), c.count, res.Header.Get("Warning"))
			}
			if c.count > 0 && all[0]["00081190"].first() != s.root+c.url {
				t.Fatalf("RetrieveURL %v, want %s", all[0]["00081190"], c.url)
			}
		})
	}
}

func TestSearchNegotiates(t *testing.T) {
	s := newServer(t)
	for accept, want := range map[string]string{
		"": "application/dicom+json", "*/*": "application/dicom+json", "application/json": "application/json",
		"application/json, application/dicom+json": "application/dicom+json", "application/dicom+json;q=0.1, application/json": "application/json",
		`multipart/related; type="application/dicom+xml"`: "", "text/html": "",
	} {
		res := s.get(t, "/studies", "Accept", accept)
		if want == "" {
			res.wantStatus(t, 406)
			continue
		}
		if res.wantStatus(t, 200); res.Header.Get("Content-Type") != want || string(res.body) != "[]" {
			t.Fatalf("%q: %q %s", accept, res.Header.Get("Content-Type"), res.body)
		}
	}
}

func TestSearchRefusals(t *testing.T) {
	s := newServer(t, func(o *dicomweb.Options) { o.Limits.MaxQuery = 10_000 })
	for _, query := range []string{
		"limit=100000000000000000000", "limit=-1", "limit=x", "limit=1&limit=2", "limit=", "offset=-1", "offset=2147483648",
		"fuzzymatching=maybe", "PatientNam=x", "patientname=x", "0010001=x", "0010001G=x", "drop+table=1", "PatientName=%ff",
		"PatientName=%00", "PatientID=1&PatientID=2", "PatientName=a;b=c", "%zz=1",
		"includefield=" + strings.Repeat("PatientID,", 300), strings.Repeat("PatientID=1&", 400), "PatientName=" + strings.Repeat("x", 20_000),
		strings.TrimSuffix(strings.Repeat("00081140.", 9), ".") + "=1",
		url.QueryEscape("Pat\r\nSet-Cookie: x") + "=1",
	} {
		res := s.get(t, "/studies?"+query)
		if res.wantStatus(t, 400); res.Header.Get("Set-Cookie") != "" {
			t.Fatal(res.Header)
		}
	}
	s.get(t, "/studies/x/series").wantStatus(t, 400)
}

// TestSearchBound: when this server's bound cuts the answer, the client is
// told; when it is the client's own limit, there is nothing to tell.
func TestSearchBound(t *testing.T) {
	s := newServer(t, func(o *dicomweb.Options) { o.Limits.MaxResults = 3 })
	s.keep(t, small(1, 5).Instances...)
	for _, c := range []struct {
		query   string
		count   int
		warning bool
	}{
		{"", 3, true}, {"limit=4", 3, true}, {"limit=3", 3, false}, {"limit=2", 2, false}, {"offset=2", 3, false}, {"offset=1", 3, true},
	} {
		res := s.get(t, "/instances?"+c.query)
		res.wantStatus(t, 200)
		warning := res.Header.Get("Warning")
		if got := len(res.array(t)); got != c.count || c.warning != strings.HasPrefix(warning, `299 cigogne "`) {
			t.Fatalf("%q: %d results, Warning %q", c.query, got, warning)
		}
	}
}

// TestSearchStreams: a long answer needs no memory of its length, and what its
// end will be is said before.
func TestSearchStreams(t *testing.T) {
	s := newServer(t)
	s.keep(t, small(1, 1).Instances...)
	template := s.instances[0]
	s.instances = nil
	for i := range 3000 {
		in := *template
		in.Key.SOPInstanceUID = fmt.Sprintf("1.2.%d", i)
		s.instances = append(s.instances, &in)
	}
	res := s.get(t, "/instances?includefield=all")
	res.wantStatus(t, 200)
	if got := len(res.array(t)); got != 3000 || res.ContentLength >= 0 || res.Header.Get("Warning") == "" {
		t.Fatalf("%d results, Content-Length %d, Warning %q", got, res.ContentLength, res.Header.Get("Warning"))
	}
}

// TestSearchUnsupportedMatching: the client is told what was not looked at.
func TestSearchUnsupportedMatching(t *testing.T) {
	s := newServer(t)
	for query, want := range map[string]string{
		"emptyvaluematching=true":               "emptyvaluematching parameter is not supported",
		"Rows=512":                              "ignored: 00280010",
		"includefield=PatientID,Nothing%22%0dX": "includefield are not known and were ignored: Nothing''X",
		"orderby=-StudyDate":                    "orderby parameter is not supported",
		"SOPInstanceUID=1.2":                    "ignored: 00080018", // of another level
		"00081140.ReferencedSOP=":               "",
		"PatientID=1&Modality=CT":               "ignored: 00080060",
		"PatientID=1&StudyDate=2025-":           "",
	} {
		res := s.get(t, "/studies?"+query)
		if want == "" {
			res.wantStatus(t, 400)
			continue
		}
		if res.wantStatus(t, 200); !strings.Contains(strings.Join(res.Header.Values("Warning"), " "), want) {
			t.Fatalf("%s: Warning %q", query, res.Header.Values("Warning"))
		}
	}
}

// TestSearchHabits: what real clients send beside the question is no reason to
// refuse it.
func TestSearchHabits(t *testing.T) {
	s := newServer(t)
	for _, query := range []string{
		"_=1763957000", "charset=utf-8", "accept=application/dicom%2Bjson", "accept=application/dicom+json", "fuzzymatching=True", "fuzzymatching=FALSE", "includefield=",
		"limit=101&offset=0&fuzzymatching=false&includefield=00081030%2C00080060%2C00080090%2C00100030", "ModalitiesInStudy=CT%5CMR",
		"ModalitiesInStudy=CT,MR", "StudyDate=20200101-", "PatientName=*&00081030=*x*", "includefield=all&includefield=00091002",
	} {
		if res := s.get(t, "/studies?"+query); res.StatusCode != http.StatusOK || res.Header.Get("Warning") != "" {
			t.Errorf("%s: %s, Warning %q", query, res.Status, res.Header.Get("Warning"))
		}
	}
}
