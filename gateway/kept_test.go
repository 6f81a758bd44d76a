package gateway

import (
	"reflect"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
)

func someRecord() *record {
	return &record{
		Instance: storage.Instance{Key: storage.InstanceKey{StudyInstanceUID: "1.2", SOPInstanceUID: "1.2.3.4"}, Size: 1 << 33, CRC32: 1 << 31},
		Attributes: dicom.DataSet{
			text(tagPatientID, "LO", strings.Repeat("7", 70_000)), siteElement(storage.SenderInfo{Name: "Odile", FINESS: "670000001"}),
		},
		Layout:   []byte(`{"frames":[1,2]}`),
		Metadata: []byte(strings.Repeat("{}", 300)),
		From:     []index.Position{{Journal: "J", Segment: 1, Offset: 1 << 40}},
	}
}

// TestKept: what is kept is found in headers as they are written, with and
// without each of its parts.
func TestKept(t *testing.T) {
	for name, change := range map[string]func(*record){
		"all":         func(*record) {},
		"no layout":   func(r *record) { r.Layout = nil },
		"no metadata": func(r *record) { r.Metadata = nil },
		"neither":     func(r *record) { r.Layout, r.Metadata, r.From, r.Attributes = nil, nil, nil, nil },
	} {
		r := someRecord()
		change(r)
		header, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		var k kept
		if want := (kept{recordVersion, r.Layout, r.Metadata}); !k.find(header) || !reflect.DeepEqual(k, want) {
			t.Errorf("%s: %+v, want %+v", name, k, want)
		}
		if k.find(header[:len(header)-1]) || k.find(append(header, 0)) {
			t.Errorf("%s: what is cut, or goes on, was taken", name)
		}
	}
}

// TestKeptOtherwise: what encodes records in another way is read all the same,
// and what is no record is none.
func TestKeptOtherwise(t *testing.T) {
	const version = string(rune(recordVersion))
	for header, want := range map[string]string{
		"\xbf\x01" + version + "\x05\x42{}\xff": "{}", // of indefinite length
		"\xa2\x05\x42{}\x01" + version:          "{}", // in another order
	} {
		if k, err := decodeKept([]byte(header)); err != nil || string(k.Metadata) != want {
			t.Errorf("%x: %+v, %v", header, k, err)
		}
	}
	for _, header := range []string{"", "\xa1\x01\x17", "\xa2\x01" + version + "\x05\x5b\xff\xff\xff\xff\xff\xff\xff\xff", "\xbb\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01"} {
		if k, err := decodeKept([]byte(header)); err == nil {
			t.Errorf("%x: %+v", header, k)
		}
	}
}

// FuzzKept: what the walk finds is what decoding finds.
func FuzzKept(f *testing.F) {
	header, err := someRecord().encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(header)
	f.Add([]byte("\xa3\x01\x01\x02\x82\xc1\xfb\x3f\xf0\x00\x00\x00\x00\x00\x00\xf5\x05\x42{}"))
	f.Fuzz(func(t *testing.T, header []byte) {
		var walked, decoded kept
		if walked.find(header) && decodeHeader(header, &decoded) == nil && !reflect.DeepEqual(walked, decoded) {
			t.Fatalf("%+v, want %+v", walked, decoded)
		}
	})
}
