package dicomweb_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"testing"

	"github.com/esante-alsace/cigogne/gateway/dicomweb"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// TestDigests: what /digests says is true of every byte of the ZIP file.
func TestDigests(t *testing.T) {
	s := newServer(t)
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 1, Series: 2, Instances: 3, Modality: "CR"})
	s.keep(t, study.Instances...)
	for _, level := range []string{"study", "series"} {
		at := path(study.Instances[0], level)
		res := s.get(t, at+"/digests")
		res.wantStatus(t, 200)
		var d dicomweb.Digests
		if err := json.Unmarshal(res.body, &d); err != nil {
			t.Fatalf("%v: %s", err, res.body)
		}
		zip := s.get(t, at, "Accept", "application/zip")
		if d.ETag != zip.Header.Get("ETag") || d.Size != int64(len(zip.body)) {
			t.Errorf("%s: ETag %s, size %d; the ZIP file's are %s and %d", level, d.ETag, d.Size, zip.Header.Get("ETag"), len(zip.body))
		}
		if want := map[string]int{"study": 6, "series": 3}[level]; len(d.Instances) != want {
			t.Fatalf("%s: %d instances, want %d", level, len(d.Instances), want)
		}
		for i, one := range d.Instances {
			in := study.Instances[slices.IndexFunc(study.Instances, func(in dicomtest.Instance) bool { return in.SOPInstanceUID == one.SOPInstanceUID })]
			file := zip.body[one.Offset : one.Offset+one.Size]
			if !bytes.Equal(file, in.Part10()) || one.SeriesInstanceUID != in.SeriesInstanceUID {
				t.Errorf("%s: instance %d is not at %d", level, i, one.Offset)
			}
			if one.CRC32 != crc32.ChecksumIEEE(file) || one.Digest != digestOf(file[one.Prefix:]) {
				t.Errorf("%s: instance %d: CRC-32 %x, digest %v", level, i, one.CRC32, one.Digest)
			}
		}
	}
	s.get(t, "/studies/1.2.3/digests").wantStatus(t, 404)
	s.get(t, "/studies/1..3/digests").wantStatus(t, 400)
}

// TestSeriesStayTogether: which series is packed first changes nothing in the
// ZIP file, so that a download goes on meanwhile.
func TestSeriesStayTogether(t *testing.T) {
	s := newServer(t)
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 1, Series: 2, Instances: 2, Modality: "CR"})
	s.keep(t, study.Instances...)
	at := path(study.Instances[0], "study")
	before := s.get(t, at, "Accept", "application/zip")
	s.instances = append(s.instances[2:], s.instances[:2]...)
	if after := s.get(t, at, "Accept", "application/zip"); !bytes.Equal(before.body, after.body) || before.Header.Get("ETag") != after.Header.Get("ETag") {
		t.Error("another file")
	}
}

// TestStoreReceipts: a client that asks for receipts is told of each part what
// became of it; the others get the answer that the standard knows.
func TestStoreReceipts(t *testing.T) {
	s := newServer(t)
	study := small(1, 2)
	good, cut := study.Instances[0].Part10(), study.Instances[1].Part10()
	send := func(header ...string) outcome {
		contentType, body := stowBody([]byte("hello"), good, cut[:len(cut)-100])
		res := s.post(t, "/studies", contentType, body, header...)
		res.wantStatus(t, 202)
		return res.outcome(t)
	}
	o := send("Cigogne-Receipts", "1")
	for name, c := range map[string]struct {
		items  []map[string]attribute
		part   float64
		digest string
		why    string
	}{
		"stored": {o.Stored, 1, fmt.Sprint(digestOf(good[len(good)-len(study.Instances[0].DataSet()):])), ""},
		"failed": {o.Failed, 2, "", "invalid: "},
		"other":  {o.Other, 0, "", "invalid: "},
	} {
		if len(c.items) != 1 {
			t.Fatalf("%s: %d items", name, len(c.items))
		}
		in := c.items[0]
		if in["00090010"].first() != "CIGOGNE" || in["00091001"].first() != c.part {
			t.Errorf("%s: %v", name, in)
		}
		if c.digest != "" && in["00091005"].first() != c.digest {
			t.Errorf("%s: digest %v, want %s", name, in["00091005"], c.digest)
		}
		if why, _ := in["00091003"].first().(string); c.why != "" && (len(why) <= len(c.why) || why[:len(c.why)] != c.why) {
			t.Errorf("%s: %q, want %q and more", name, why, c.why)
		}
	}
	if _, again := o.Stored[0]["00091004"]; again {
		t.Error("it was durable before it was sent")
	}
	if again := send("Cigogne-Receipts", "1"); again.Stored[0]["00091004"].first() != "DUPLICATE" {
		t.Errorf("sent again: %v", again.Stored)
	}
	plain := send()
	for _, in := range slices.Concat(plain.Stored, plain.Failed, plain.Other) {
		for tag := range maps.Keys(in) {
			if tag[:4] == "0009" {
				t.Errorf("%s to a client that did not ask", tag)
			}
		}
	}
}

func digestOf(b []byte) storage.Digest { return storage.DigestOf(b) }
