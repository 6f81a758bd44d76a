package dicomweb

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func TestNegotiate(t *testing.T) {
	const jls = "1.2.840.10008.1.2.4.80"
	stored := func(asked string) bool { return anySyntax(asked) || asked == jls }
	study := []offer{{name: multipartType, kind: dicomType, syntax: stored}, {name: zipType}}
	instance := []offer{study[0], {name: dicomType, syntax: stored}}
	frame := (&pixels{syntax: jls, media: "image/jls"}).offers(true)
	for _, c := range []struct {
		name   string
		offers []offer
		accept string
		want   string // the offer, or "406"
	}{
		{"nothing", study, "", `multipart/related; type="application/dicom"`},
		{"anything", study, "*/*", `multipart/related; type="application/dicom"`},
		{"a bare star", study, "text/html, *; q=.2", `multipart/related; type="application/dicom"`},
		{"any multipart", study, "multipart/related", `multipart/related; type="application/dicom"`},
		{"unquoted type", study, "multipart/related;type=application/dicom;boundary=**", `multipart/related; type="application/dicom"`},
		{"upper case", study, `Multipart/Related; Type="Application/DICOM"`, `multipart/related; type="application/dicom"`},
		{"zip", study, "application/zip", "application/zip"},
		{"any application", study, "application/*", "application/zip"},
		{"zip before", study, `multipart/related; type="application/dicom"; q=0.5, application/zip`, "application/zip"},
		{"zip after", study, `multipart/related; type="application/dicom", application/zip;q=0.9`, `multipart/related; type="application/dicom"`},
		{"not zip", study, "application/zip;q=0, */*", `multipart/related; type="application/dicom"`},
		{"all but multipart", study, "multipart/related;q=0, */*;q=0.1", "application/zip"},
		{"trailing commas", study, ",application/zip,,", "application/zip"},
		{"only commas", study, ",,", "406"},
		{"a single part of a study", study, "application/dicom", "406"},
		{"a single part of an instance", instance, "application/dicom", "application/dicom"},
		{"any transfer syntax", instance, "application/dicom; transfer-syntax=*", "application/dicom"},
		{"the one stored", instance, "application/dicom; transfer-syntax=" + jls, "application/dicom"},
		{"quoted", instance, `application/dicom; transfer-syntax="` + jls + `"`, "application/dicom"},
		{"another", instance, "application/dicom; transfer-syntax=1.2.840.10008.1.2.1", "406"},
		{"another, or any", instance, "application/dicom; transfer-syntax=1.2.840.10008.1.2.1, */*;q=0.1", `multipart/related; type="application/dicom"`},
		{"XML", study, `multipart/related; type="application/dicom+xml"`, "406"},
		{"octets of a compressed frame", frame, `multipart/related; type="application/octet-stream"`, "406"},
		{"octets, any syntax (OHIF)", frame, "multipart/related; type=application/octet-stream; transfer-syntax=*", `multipart/related; type="application/octet-stream"`},
		{"the frame's type", frame, `multipart/related; type="image/jls"`, `multipart/related; type="image/jls"`},
		{"a list of types", frame, `multipart/related; type="image/jpeg", multipart/related; type="image/jls"; transfer-syntax=` + jls, `multipart/related; type="image/jls"`},
		{"a single frame", frame, "image/jls", "image/jls"},
		{"any image", frame, "image/*", "image/jls"},
		{"another image", frame, "image/jpeg", "406"},
		{"a comma in quotes", study, `multipart/related; type="a,b", application/zip`, "application/zip"},
		{"a quote that never ends", study, `multipart/related; type="a, application/zip`, "406"},
		{"very many", study, strings.Repeat("text/html, ", 1000) + "application/zip", "application/zip"},
		{"q that is none", study, "application/zip;q=NaN", "application/zip"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &service{Options: Options{Limits: Limits{}.withDefaults()}}
			inHeader := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/studies/1", nil)
			if c.accept != "" {
				inHeader.Header.Set("Accept", c.accept)
			}
			inQuery := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/studies/1?accept="+url.QueryEscape(c.accept), nil)
			inQuery.Header.Set("Accept", "text/plain")
			for _, r := range []*http.Request{inHeader, inQuery} {
				i, err := s.negotiate(r, c.offers, "")
				got := "406"
				if err == nil {
					got = c.offers[i].String()
				} else if statusOf(err) != http.StatusNotAcceptable {
					t.Fatal(err)
				}
				if got != c.want {
					t.Fatalf("%s\n got %s\nwant %s", c.accept, got, c.want)
				}
			}
		})
	}
}

// TestAcceptInQuery: semicolons and plus signs are meant as they stand, and
// spaces come in either form.
func TestAcceptInQuery(t *testing.T) {
	for query, want := range map[string]string{
		"accept=application/dicom+json":                                     "application/dicom+json",
		"accept=application/dicom%2Bjson":                                   "application/dicom+json",
		"_=1&accept=application/dicom;transfer-syntax=*&x=y":                "application/dicom;transfer-syntax=*",
		"accept=application%2Fdicom%3B+transfer-syntax%3D*":                 "application/dicom; transfer-syntax=*",
		"accept=multipart/related;%20type=%22a/b%22,+image/jpeg&accept=a/b": `multipart/related; type="a/b", image/jpeg|a/b`,
		"accept":          "",
		"noaccept=a/b":    "",
		"accept=%zz":      "",
		"accept=a/b%3Bq;": "a/b;q;",
	} {
		if got := strings.Join(acceptInQuery(query), "|"); got != want {
			t.Errorf("%s is %q, not %q", query, got, want)
		}
	}
}

func FuzzAccept(f *testing.F) {
	f.Add(`multipart/related; type="application/dicom"; transfer-syntax=*; boundary=**;q=0.5, */*`)
	f.Add(`a/b; c="\"d,e\\", *;q=1e400`)
	f.Fuzz(func(t *testing.T, header string) {
		accepted, err := parseAccept([]string{header}, 4096)
		if (err != nil) != (len(header) > 4096) {
			t.Fatal(err)
		}
		for _, m := range accepted {
			if !strings.Contains(m.name, "/") || m.q < 0 || m.q > 1 || m.q != m.q {
				t.Fatalf("%+v", m)
			}
		}
		for _, o := range (&pixels{syntax: "1.2", media: "image/jls"}).offers(true) {
			if q := o.quality(accepted); q < 0 || q > 1 {
				t.Fatal(q)
			}
		}
	})
}
