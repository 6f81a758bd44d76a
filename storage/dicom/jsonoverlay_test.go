package dicom_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage/dicom"
)

// overlaid lays over an object that is written in pieces of n bytes.
func overlaid(t testing.TB, object string, over dicom.DataSet, n int) string {
	t.Helper()
	var b strings.Builder
	w := dicom.WithElements(&b, over)
	for len(object) > 0 {
		piece := object[:min(n, len(object))]
		if k, err := w.Write([]byte(piece)); err != nil || k != len(piece) {
			t.Fatal(k, err)
		}
		object = object[len(piece):]
	}
	return b.String()
}

func lo(t dicom.Tag, v string) dicom.Element {
	return dicom.Element{Tag: t, VR: "LO", Values: []string{v}}
}

func TestWithElements(t *testing.T) {
	over := dicom.DataSet{lo(0x00100021, "HUS"), {Tag: 0x00100024, VR: "SQ", Items: []dicom.DataSet{{lo(0x00400032, "1.2")}}}}
	for name, ds := range map[string]dicom.DataSet{
		"nothing":         {},
		"only before":     {lo(0x00080070, `a"b\{},[`), lo(0x00100020, "1")},
		"only behind":     {lo(0x00100040, "M")},
		"around":          {lo(0x00100020, "1"), lo(0x00100040, "M"), {Tag: 0x00400275, VR: "SQ", Items: []dicom.DataSet{{lo(0x00100021, "inside")}, {}}}},
		"in their place":  {lo(0x00100020, "1"), {Tag: 0x00100021, VR: "LO"}, {Tag: 0x00100024, VR: "SQ", Items: []dicom.DataSet{{lo(0x00100021, "x")}, {}}}, lo(0x00100040, "M")},
		"first and last":  {lo(0x00100021, "GHR")},
		"one of them":     {lo(0x00100021, "GHR"), lo(0x00100040, "M")},
		"inside sequence": {{Tag: 0x00081140, VR: "SQ", Items: []dicom.DataSet{{lo(0x00100021, "inside")}}}, lo(0x00200010, "2")},
	} {
		want := string(ds.With(over...).AppendJSON(nil))
		for _, n := range []int{1, 2, 7, 1 << 20} {
			if got := overlaid(t, string(ds.AppendJSON(nil)), over, n); got != want {
				t.Errorf("%s, %d bytes at a time:\n got %s\nwant %s", name, n, got, want)
			}
		}
	}
}

// FuzzWithElements: whatever is in the object, what is laid over it is there
// once and everything else is as it was; however the bytes are parted.
func FuzzWithElements(f *testing.F) {
	f.Add([]byte(`{"00100020":{"vr":"LO","Value":["4711"]},"00100021":{"vr":"LO"},"00100040":{"vr":"CS","Value":["M"]}}`), uint8(3))
	f.Add([]byte(`{"00081140":{"vr":"SQ","Value":[{"00100021":{"vr":"LO","Value":["\"}"]}}]}}`), uint8(1))
	f.Add([]byte(`]}{"`), uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, n uint8) {
		over := dicom.DataSet{lo(0x00100021, "HUS"), lo(0x00100024, "x")}
		var ds dicom.DataSet
		if json.Unmarshal(b, &ds) != nil {
			overlaid(t, string(b), over, 1+int(n))
			return
		}
		got := overlaid(t, string(ds.AppendJSON(nil)), over, 1+int(n))
		var back dicom.DataSet
		if err := json.Unmarshal([]byte(got), &back); err != nil {
			t.Fatalf("%v: %s", err, got)
		}
		var want dicom.DataSet
		if err := json.Unmarshal(ds.With(over...).AppendJSON(nil), &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(back, want) {
			t.Fatalf("got %s", got)
		}
	})
}
