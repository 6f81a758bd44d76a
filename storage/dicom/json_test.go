package dicom_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

// The DICOM JSON model, PS3.18 §F.2, one VR at a time.
func TestElementJSON(t *testing.T) {
	for _, c := range []struct {
		e    dicom.Element
		want string
	}{
		{dicom.Element{VR: "CS"}, `{"vr":"CS"}`},
		{dicom.Element{VR: "CS", Values: []string{"A", "", "B"}}, `{"vr":"CS","Value":["A",null,"B"]}`},
		{dicom.Element{VR: "LT", Values: []string{"a\\b\"\n\x7f\xff"}}, `{"vr":"LT","Value":["a\\b\"\u000a\u007f` + "\uFFFD" + `"]}`},
		{dicom.Element{VR: "PN", Values: []string{"A^B=山=や"}}, `{"vr":"PN","Value":[{"Alphabetic":"A^B","Ideographic":"山","Phonetic":"や"}]}`},
		{dicom.Element{VR: "PN", Values: []string{"=山"}}, `{"vr":"PN","Value":[{"Ideographic":"山"}]}`},
		{dicom.Element{VR: "PN", Values: []string{"a=b=c=d"}}, `{"vr":"PN","Value":[{"Alphabetic":"a","Ideographic":"b","Phonetic":"c=d"}]}`},
		{dicom.Element{VR: "DS", Values: []string{"-1.50", "1e-3", "+5", ".5", "05", "1e999", "x"}}, `{"vr":"DS","Value":[-1.50,1e-3,"+5",".5","05","1e999","x"]}`},
		{dicom.Element{VR: "IS", Values: []string{"12", "1A"}}, `{"vr":"IS","Value":[12,"1A"]}`},
		{dicom.Element{VR: "FD", Values: []string{"NaN", "inf", "0.1"}}, `{"vr":"FD","Value":["NaN","inf",0.1]}`},
		{dicom.Element{VR: "SV", Values: []string{"-9007199254740991", "9007199254740993"}}, `{"vr":"SV","Value":[-9007199254740991,"9007199254740993"]}`},
		{dicom.Element{VR: "AT", Values: []string{"00280009"}}, `{"vr":"AT","Value":["00280009"]}`},
		{dicom.Element{VR: "OB", Values: []string{"AAE="}}, `{"vr":"OB","InlineBinary":"AAE="}`},
		{dicom.Element{VR: "OW", Bulk: &dicom.Bulk{Path: "7FE00010", VR: "OW"}}, `{"vr":"OW","BulkDataURI":"bulkdata/7FE00010"}`},
		{dicom.Element{VR: "SQ", Items: []dicom.DataSet{nil, {{Tag: 0x00080100, VR: "SH", Values: []string{"C"}}}}}, `{"vr":"SQ","Value":[{},{"00080100":{"vr":"SH","Value":["C"]}}]}`},
	} {
		text, err := json.Marshal(c.e)
		if err != nil || string(text) != c.want {
			// Marshal compacts and escapes again what AppendJSON wrote.
			if direct := string(c.e.AppendJSON(nil)); direct != c.want {
				t.Errorf("%s\nwant %s (%v)", direct, c.want, err)
			}
		}
		var back dicom.Element
		if err := json.Unmarshal(text, &back); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if c.e.VR != "LT" && !reflect.DeepEqual(back, c.e) { // LT has a byte that was replaced
			t.Errorf("%s comes back as %+v", text, back)
		}
	}
}

func TestUnmarshalJSONRefuses(t *testing.T) {
	deep := strings.Repeat(`{"00081140":{"vr":"SQ","Value":[`, 200) + strings.Repeat(`]}}`, 200)
	for _, text := range []string{
		`{"x":{"vr":"CS"}}`, `{"00080005":{"vr":"ZZ"}}`, `{"00080005":1}`, `[]`, deep,
		`{"00080005":{"vr":"CS","Value":[{}]}}`, `{"00080005":{"vr":"CS","Value":[[1]]}}`,
		`{"7FE00010":{"vr":"OB","InlineBinary":"*"}}`, `{"00081140":{"vr":"SQ","Value":[1]}}`,
	} {
		var ds dicom.DataSet
		if err := ds.UnmarshalJSON([]byte(text)); !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("%.80s: %v", text, err)
		}
	}
}

// However the JSON is cut into writes, relative URIs become absolute, and text
// that only looks like one stays.
func TestWithBulkRoot(t *testing.T) {
	ds := dicom.DataSet{
		{Tag: 0x00104000, VR: "LT", Values: []string{`"BulkDataURI":"bulkdata/x"`}},
		{Tag: 0x00420011, VR: "OB", Bulk: &dicom.Bulk{Path: "00420011", VR: "OB"}},
		{Tag: 0x7FE00010, VR: "OW", Bulk: &dicom.Bulk{Path: "7FE00010", VR: "OW"}},
	}
	const root, like = `http://h/"q"`, `{"NoBulkDataURI":"bulkdata/x"},`
	text := ds.AppendJSON([]byte(like))
	want := like + strings.ReplaceAll(string(text[len(like):]), `:"bulkdata/`, `:"http://h/\"q\"/bulkdata/`)
	for size := 1; size <= len(text); size++ {
		var out bytes.Buffer
		w := dicom.WithBulkRoot(&out, root)
		for rest := text; len(rest) > 0; {
			n, err := w.Write(rest[:min(size, len(rest))])
			if err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if out.String() != want {
			t.Fatalf("in writes of %d: %s\nwant %s", size, out.String(), want)
		}
	}
}
