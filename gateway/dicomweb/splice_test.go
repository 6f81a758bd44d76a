package dicomweb

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/esante-alsace/cigogne/storage/index"
)

func TestSplice(t *testing.T) {
	const url = `"00081190":{"vr":"UR","Value":["http://h/studies/1.2"]}`
	const uid = `"0020000D":{"vr":"UI","Value":["1.2"]}`
	for _, c := range []struct{ name, object, want string }{
		{"before the UID", `{` + uid + `}`, `{` + url + `,` + uid + `}`},
		{"in between", `{"00080005":{"vr":"CS"},` + uid + `}`, `{"00080005":{"vr":"CS"},` + url + `,` + uid + `}`},
		{"at the end", `{"0020000D":{"vr":"UI","Value":["1.2"]},"00081180":{"vr":"UI"}}`, `{` + url + `,` + uid + `,"00081180":{"vr":"UI"}}`},
		{"has one", `{"00081190":{"vr":"UR"},` + uid + `}`, `{"00081190":{"vr":"UR"},` + uid + `}`},
		{"no UID", `{"00081190":{}}`, `{"00081190":{}}`},
		{"empty", `{}`, `{}`},
		{"a UID that is none", `{"0020000D":{"vr":"UI","Value":["../x"]}}`, `{"0020000D":{"vr":"UI","Value":["../x"]}}`},
		{"nested and quoted", `{"00081140":{"vr":"SQ","Value":[{"00100010":{"v":"}\",{"}}]},` + uid + `}`,
			`{"00081140":{"vr":"SQ","Value":[{"00100010":{"v":"}\",{"}}]},` + url + `,` + uid + `}`},
		{"white space", ` { "0020000D" : { "vr" : "UI" , "Value" : [ "1.2" ] } } `,
			` { ` + url + `,"0020000D" : { "vr" : "UI" , "Value" : [ "1.2" ] } } `},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := string(newSplicer("http://h", index.Study).withRetrieveURL([]byte(c.object))); got != c.want {
				t.Fatalf(" got %s\nwant %s", got, c.want)
			}
		})
	}
}

// FuzzSplice: well-formed JSON stays well-formed and keeps its members, and
// other bytes do no harm.
func FuzzSplice(f *testing.F) {
	f.Add([]byte(`{"00080005":{"vr":"CS","Value":["ISO_IR 192"]},"0020000D":{"vr":"UI","Value":["1.2"]},"00400275":{"vr":"SQ","Value":[{}]}}`))
	f.Add([]byte(`{"a":"\\\"}","b":[{"c":[1,2,"x"]}]}`))
	f.Fuzz(func(t *testing.T, object []byte) {
		before := slices.Clone(object)
		got := newSplicer("http://h", index.Study).withRetrieveURL(object)
		if !slices.Equal(before, object) {
			t.Fatal("the object was written to")
		}
		var was, is map[string]json.RawMessage
		if json.Unmarshal(object, &was) != nil {
			return
		}
		if err := json.Unmarshal(got, &is); err != nil {
			t.Fatalf("%s became %s", object, got)
		}
		for key, value := range was {
			if string(is[key]) != string(value) {
				t.Fatalf("%q was %s, is %s", key, value, is[key])
			}
		}
	})
}

func BenchmarkSplice(b *testing.B) {
	object := []byte(`{"00080005":{"vr":"CS","Value":["ISO_IR 192"]},"00080020":{"vr":"DA","Value":["20250314"]},"00080030":{"vr":"TM","Value":["101500"]},"00080050":{"vr":"SH","Value":["A1"]},"00080061":{"vr":"CS","Value":["CT","MR"]},"00080090":{"vr":"PN"},"00100010":{"vr":"PN","Value":[{"Alphabetic":"Müller^Hélène"}]},"00100020":{"vr":"LO","Value":["PAT000001"]},"0020000D":{"vr":"UI","Value":["2.25.91978829508972482201890700816702069259"]},"00201206":{"vr":"IS","Value":[1]},"00201208":{"vr":"IS","Value":[10]}}`)
	s := newSplicer("http://127.0.0.1:8080/dicom-web", index.Study)
	b.SetBytes(int64(len(object)))
	for b.Loop() {
		s.withRetrieveURL(object)
	}
}
