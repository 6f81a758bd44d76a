package dicomweb_test

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"net/http"
	"strconv"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

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

// TestHeadHasNoRange: ranges are defined for GET alone (RFC 9110 §14.2).
func TestHeadHasNoRange(t *testing.T) {
	s := newServer(t)
	in := small(1, 1).Instances[0]
	s.keep(t, in)
	for _, ranged := range []string{"bytes=0-9", "bytes=99999999-"} {
		res := s.do(t, http.MethodHead, path(in, "instance"), pairs([]string{"Accept", "application/dicom", "Range", ranged}), nil)
		res.wantStatus(t, 200)
		if res.ContentLength != int64(len(in.Part10())) || res.Header.Get("Content-Range") != "" {
			t.Errorf("%s: %d bytes, Content-Range %q", ranged, res.ContentLength, res.Header.Get("Content-Range"))
		}
	}
}

// TestIfMatch: who demands what was begun gets nothing else (RFC 9110 §13.1.1).
func TestIfMatch(t *testing.T) {
	s := newServer(t)
	in := small(1, 1).Instances[0]
	s.keep(t, in)
	p := path(in, "instance")
	file := s.get(t, p, "Accept", "application/dicom").Header.Get("ETag")
	parts := s.get(t, p).Header.Get("ETag")
	for _, c := range []struct {
		name, accept, condition string
		status                  int
	}{
		{"the same", "application/dicom", file, 206},
		{"one of several", "application/dicom", `"x", ` + file, 206},
		{"anything", "application/dicom", "*", 206},
		{"another", "application/dicom", `"x"`, 412},
		{"weakly the same", "application/dicom", "W/" + file, 412},
		{"parts, whose bytes differ each time", "multipart/related", parts, 412},
	} {
		t.Run(c.name, func(t *testing.T) {
			res := s.get(t, p, "Accept", c.accept, "Range", "bytes=0-9", "If-Match", c.condition)
			res.wantStatus(t, c.status)
		})
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
