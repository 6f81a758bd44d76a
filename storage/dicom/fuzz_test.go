package dicom_test

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// syntaxes are those a fuzzed Data Set is read in; the fuzzer picks by number.
func syntaxes() []string {
	return []string{dicomtest.ExplicitLE, dicomtest.ImplicitLE, dicomtest.ExplicitBE, dicomtest.Deflated, dicomtest.RLE, dicomtest.HTJ2K}
}

// smallFiles calls f with the real files of up to 16 KB, when there are any.
func smallFiles(f *testing.F, use func(file []byte)) {
	dir := os.Getenv("CIGOGNE_DICOM_DIR")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "dicom")
	}
	for _, pattern := range []string{"charset/*", "malformed/*", "transfer-syntax/*", "modality/*"} {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range names {
			if file, err := os.ReadFile(name); err == nil && len(file) < 16<<10 {
				use(file)
			}
		}
	}
}

// FuzzScanner: no Data Set panics, none gives another result when it comes in
// other chunks, and what a Layout names lies inside.
func FuzzScanner(f *testing.F) {
	for n, ts := range syntaxes() {
		whole := dicomtest.NewStudy(dicomtest.Options{Modality: "CR", TransferSyntaxUID: ts}).Instances[0].DataSet()
		f.Add(byte(n), uint16(7), whole[:min(len(whole), 2048)])
	}
	for _, lie := range dicomtest.Lies() {
		f.Add(byte(0), uint16(1), lie)
	}
	f.Add(byte(0), uint16(100), dicomtest.NestedDefined(20))
	f.Add(byte(0), uint16(100), dicomtest.NestedUndefined(20))
	smallFiles(f, func(file []byte) {
		p, dataSet, _, _ := readFile(file)
		for n, ts := range syntaxes() {
			if p != nil && ts == p.Meta.TransferSyntaxUID {
				f.Add(byte(n), uint16(64), dataSet)
			}
		}
	})
	f.Fuzz(func(t *testing.T, which byte, chunk uint16, dataSet []byte) {
		ts := syntaxes()[int(which)%len(syntaxes())]
		once, err := scan(t, ts, dataSet, max(len(dataSet), 1))
		pieces, err2 := scan(t, ts, dataSet, int(chunk)+1)
		if (err == nil) != (err2 == nil) {
			t.Fatalf("at once: %v; in chunks of %d: %v", err, chunk+1, err2)
		}
		var streamed bytes.Buffer
		err3 := dicom.WriteJSON(&streamed, bytes.NewReader(dataSet), ts, dicom.ScanLimits{})
		// What is streamed was scanned before, which is stricter about whose it is.
		if err3 != nil && err == nil || err3 == nil && err != nil && !errors.Is(err, storage.ErrInvalid) {
			t.Fatalf("scanned: %v; streamed: %v", err, err3)
		}
		if err != nil {
			return
		}
		if !reflect.DeepEqual(once, pieces) {
			t.Fatalf("at once %+v\nin chunks %+v", once, pieces)
		}
		checkLayout(t, once.Layout, int64(len(dataSet)))
		checkStable(t, once.DataSet)
	})
}

// checkStable fails when decoding and encoding DICOM JSON changes it.
func checkStable(t *testing.T, ds dicom.DataSet) {
	t.Helper()
	text := ds.AppendJSON(nil)
	var back dicom.DataSet
	if err := back.UnmarshalJSON(text); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if again := back.AppendJSON(nil); !bytes.Equal(text, again) {
		t.Fatalf("%s\nbecame\n%s", text, again)
	}
}

// FuzzPart10: no file panics, and nothing of it is lost or made up.
func FuzzPart10(f *testing.F) {
	i := dicomtest.NewStudy(dicomtest.Options{Modality: "CR"}).Instances[0]
	f.Add(i.Part10()[:1024])
	f.Add(i.DataSet()[:1024])
	smallFiles(f, func(file []byte) { f.Add(file) })
	f.Fuzz(func(t *testing.T, file []byte) {
		p, err := dicom.ReadPart10(bufio.NewReader(bytes.NewReader(file)))
		if err != nil {
			return
		}
		if p.Meta.TransferSyntaxUID == "" || !bytes.HasPrefix(file, p.Prefix) || len(p.Prefix) > 64<<10 {
			t.Fatalf("%+v", p)
		}
	})
}

// FuzzCharset: every text in every character set becomes valid UTF-8.
func FuzzCharset(f *testing.F) {
	for _, n := range dicomtest.Names() {
		f.Add(n.CharacterSet, []byte(n.Bytes))
	}
	f.Add(`\ISO 2022 IR 149`, []byte("\x1b$)C\xfb\xf3^\x1b$)C\xd1"))
	f.Add("GB18030", []byte("\x81\x30\x81"))
	f.Fuzz(func(t *testing.T, terms string, raw []byte) {
		if len(terms) > 1000 || len(raw) > 1000 {
			return
		}
		var b dicomtest.Builder
		b.Text(0x00080005, "CS", terms).Text(0x00100010, "PN", string(raw)).Text(0x00104000, "LT", string(raw))
		r, err := scan(t, dicomtest.ExplicitLE, b.Bytes(), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		checkStable(t, r.DataSet)
	})
}

// FuzzJSON: what is accepted as DICOM JSON is stable once it was encoded.
func FuzzJSON(f *testing.F) {
	i := dicomtest.NewStudy(dicomtest.Options{Modality: "CR"}).Instances[0]
	var text bytes.Buffer
	if err := dicom.WriteJSON(&text, bytes.NewReader(i.DataSet()), dicomtest.ExplicitLE, dicom.ScanLimits{}); err != nil {
		f.Fatal(err)
	}
	f.Add(text.Bytes())
	f.Add([]byte(`{"00081140":{"vr":"SQ","Value":[{"00080100":{"vr":"SH","Value":["C",null]}},{}]},"00280106":{"vr":"SS","Value":[-1,"x"]}}`))
	f.Add([]byte(`{"7FE00010":{"vr":"OW","BulkDataURI":"http://x/bulkdata/7FE00010"},"00100010":{"vr":"PN","Value":[{"Phonetic":"x"}]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var ds dicom.DataSet
		if ds.UnmarshalJSON(text) == nil {
			var once dicom.DataSet
			if err := once.UnmarshalJSON(ds.AppendJSON(nil)); err != nil {
				t.Fatal(err)
			}
			checkStable(t, once)
		}
	})
}
