package index_test

import (
	"slices"
	"testing"

	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
)

// TestWhatIsProposedIsUnderstood: attributes in sequences as deep as they are
// read of an instance make no batch that nobody can decode.
func TestWhatIsProposedIsUnderstood(t *testing.T) {
	for depth := range 33 {
		in := oneSeries()[0]
		ds := dicom.DataSet{indextest.Text(0x00080100, "SH", "113850")}
		for range depth {
			ds = dicom.DataSet{{Tag: 0x00400275, VR: "SQ", Items: []dicom.DataSet{ds}}}
		}
		in.Attributes = in.Attributes.With(ds...)
		wire, err := index.EncodeBatch(index.Batch{Received: []index.Instance{in}})
		if err != nil {
			t.Errorf("%d deep: %v", depth, err)
			continue
		}
		b, err := index.DecodeBatch(wire)
		if err != nil {
			t.Errorf("%d deep: %v", depth, err)
			continue
		}
		if a := apply(t, open(t), b); a.Outcomes[0].Standing != index.StandingNew {
			t.Errorf("%d deep: %+v", depth, a)
		}
	}
}

func TestAttributesThatAreTooManyRefuseNoInstance(t *testing.T) {
	x := open(t)
	in := oneSeries()[0]
	huge := dicom.Element{Tag: 0x00400275, VR: "SQ"}
	for range 10_000 {
		huge.Items = append(huge.Items, dicom.DataSet{indextest.Text(0x00400009, "SH", "SPS"), indextest.Text(0x00400007, "LO", "too much of it")})
	}
	in = indextest.With(in, huge)
	in.Attributes = append(in.Attributes, in.Attributes[0]) // out of order, and twice
	wire, err := index.EncodeBatch(index.Batch{Received: []index.Instance{in}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := index.DecodeBatch(wire)
	if err != nil {
		t.Fatal(err)
	}
	if a := apply(t, x, b); a.Outcomes[0].Standing != index.StandingNew {
		t.Fatalf("%+v", a)
	}
	got := search(t, x, index.Query{Level: index.Series, Match: []index.Condition{{Path: []dicom.Tag{0x00100020}, Value: first(in.Attributes, 0x00100020)}}})
	if len(got) != 1 || slices.ContainsFunc(got[0], func(e dicom.Element) bool { return len(e.Items) > 0 }) {
		t.Errorf("%v", got)
	}
}
