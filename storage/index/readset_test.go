package index

import (
	"errors"
	"reflect"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

// FuzzDecodeSet holds that exactly the bytes that encodeSet writes are read,
// and as the library reads them.
func FuzzDecodeSet(f *testing.F) {
	c, err := newCodec()
	if err != nil {
		f.Fatal(err)
	}
	long := make([]string, 300)
	for _, ds := range []dicom.DataSet{
		nil,
		{element(tagPatientName, "PN", "Müller^Jürgen", "")},
		{{Tag: 0xFFFFFFFF, VR: "LT", Values: []string{string(make([]byte, 70_000))}}, {Tag: 1, VR: "IS", Values: long}},
		{element(tagStudyDate, "DA"), {Tag: tagOtherPatientIDs, VR: "SQ", Items: []dicom.DataSet{
			nil, {element(tagPatientID, "LO", "7"), {Tag: tagIssuerQualifiers, VR: "SQ", Items: []dicom.DataSet{{element(tagUniversalEntityID, "UT", "1.2")}}}},
		}}},
	} {
		b, err := c.encodeSet(ds)
		if err != nil {
			f.Fatal(err)
		}
		if got, err := decodeSet(b); err != nil || !reflect.DeepEqual(got, ds) {
			f.Fatalf("%v becomes %v, %v", ds, got, err)
		}
		if len(b) < 1<<10 { // longer ones would be made shorter all the time
			f.Add(b)
			f.Add(append(b, 0x80))
			f.Add(b[:len(b)-1])
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var w wireSet
		canonical := c.dec.Unmarshal(b, &w) == nil
		want := fromWire(w)
		if canonical {
			again, err := c.encodeSet(want)
			canonical = err == nil && string(again) == string(b)
		}
		switch got, err := decodeSet(b); {
		case err != nil && !errors.Is(err, storage.ErrCorrupt):
			t.Error(err)
		case err == nil && !reflect.DeepEqual(got, want):
			t.Errorf("%x is %v, not %v", b, got, want)
		case (err == nil) != canonical:
			t.Errorf("%x, which is written: %v: %v", b, canonical, err)
		}
	})
}
