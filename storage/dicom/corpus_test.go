package dicom_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

// corpus is the folder of real files; the test is skipped without it.
func corpus(tb testing.TB) string {
	tb.Helper()
	dir := os.Getenv("CIGOGNE_DICOM_DIR")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "dicom")
	}
	if _, err := os.Stat(filepath.Join(dir, "MANIFEST.tsv")); err != nil {
		tb.Skipf("no real files: set CIGOGNE_DICOM_DIR (%v)", err)
	}
	return dir
}

// corpusFiles lists the real files under dir, by their path in it.
func corpusFiles(tb testing.TB, dir string) []string {
	tb.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		switch filepath.Ext(name) {
		case ".tsv", ".md", ".txt", ".sha256":
			return err
		}
		if strings.HasSuffix(name, ".tar.gz") || strings.HasPrefix(name, "licenses") {
			return err
		}
		names = append(names, name)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return names
}

// readFile scans a PS3.10 file.
func readFile(file []byte) (*dicom.Part10, []byte, *dicom.Result, error) {
	r := bufio.NewReader(bytes.NewReader(file))
	p, err := dicom.ReadPart10(r)
	if err != nil {
		return nil, nil, nil, err
	}
	dataSet, err := io.ReadAll(r)
	if err != nil {
		return nil, nil, nil, err
	}
	s := dicom.NewScanner(p.Meta.TransferSyntaxUID, dicom.ScanLimits{})
	if _, err := s.Write(dataSet); err != nil {
		s.Abort()
		return p, dataSet, nil, err
	}
	res, err := s.Close()
	return p, dataSet, res, err
}

// TestMalformedOutcomes is the list of what becomes of every malformed file:
// "" is accepted, other text is the reason for which it is refused. A file
// that lacks identifying attributes is accepted here; it is the gateway that
// refuses an instance without UIDs.
func TestMalformedOutcomes(t *testing.T) {
	outcomes := map[string]string{
		"dicomswift--jpeg_baseline_synthetic.dcm":      "", // native pixels in spite of the transfer syntax; tags out of order
		"gcp--mr_1.0.0.0.dcm":                          "",
		"pydicom--ExplVR_LitEndNoMeta.dcm":             "", // transfer syntax guessed
		"pydicom--GDCMJ2K_TextGBR.dcm":                 "",
		"pydicom--MR_small_padded.dcm":                 "", // Data Set Trailing Padding is kept, and left out of DICOM JSON
		"pydicom--MR_truncated.dcm":                    "element 7FE00010 at offset 1166: the Data Set ends 62 bytes before the value does",
		"pydicom--UN_sequence.dcm":                     "",
		"pydicom--badVR.dcm":                           "", // values that break their VR are kept as text
		"pydicom--empty_charset_LEI.dcm":               "",
		"pydicom--meta_missing_tsyntax.dcm":            "",                                     // transfer syntax guessed
		"pydicom--no_meta.dcm":                         "neither a PS3.10 file nor a Data Set", // a stray byte before the first element
		"pydicom--no_meta_group_length.dcm":            "",
		"pydicom--priv_SQ.dcm":                         "",
		"pydicom--reportsi_with_empty_number_tags.dcm": "",
		"pydicom--rtstruct.dcm":                        "", // transfer syntax guessed
		"pydicom--zipMR.gz":                            "neither a PS3.10 file nor a Data Set",
		"pydicomdata--JLSL_RGB_ILV0.dcm":               "", // File Meta Information without preamble
		"pydicomdata--explicit_VR-UN.dcm":              "", // standard attributes written as UN get their VR back
	}
	dir := filepath.Join(corpus(t), "malformed")
	for _, name := range corpusFiles(t, dir) {
		want, listed := outcomes[name]
		if !listed {
			t.Errorf("%s has no documented outcome", name)
			continue
		}
		file, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		_, _, _, err = readFile(file)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: refused: %v", name, err)
		case want != "" && (!errors.Is(err, storage.ErrInvalid) || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

// TestWellFormedFilesAreAccepted: no real file outside malformed is refused,
// and each one's identity, frames and bulk values lie inside it.
func TestWellFormedFilesAreAccepted(t *testing.T) {
	dir := corpus(t)
	for _, name := range corpusFiles(t, dir) {
		if strings.HasPrefix(name, "malformed") {
			continue
		}
		file, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		p, dataSet, res, err := readFile(file)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !bytes.Equal(append(p.Prefix, dataSet...), file) {
			t.Errorf("%s: prefix and Data Set are not the file", name)
		}
		checkLayout(t, res.Layout, int64(len(dataSet)))
		var streamed bytes.Buffer
		if err := dicom.WriteJSON(&streamed, bytes.NewReader(dataSet), p.Meta.TransferSyntaxUID, dicom.ScanLimits{}); err != nil {
			t.Errorf("%s: WriteJSON: %v", name, err)
		} else if !res.Overflow && streamed.String() != string(res.DataSet.AppendJSON(nil)) {
			t.Errorf("%s: WriteJSON and AppendJSON differ", name)
		}
	}
}

// checkLayout fails when l names bytes that are not there.
func checkLayout(tb testing.TB, l dicom.Layout, size int64) {
	tb.Helper()
	for _, b := range l.Bulk {
		if !b.Range.Within(size) {
			tb.Errorf("bulk %s at %+v of %d bytes", b.Path, b.Range, size)
		}
	}
	f := l.Frames
	if f == nil {
		return
	}
	if f.Count < 1 || !f.Native.Within(size) || int64(f.Count)*f.FrameBits > f.Native.Length*8 {
		tb.Errorf("frames %+v of %d bytes", f, size)
	}
	if f.FrameBits == 0 && (len(f.Fragments) == 0 || len(f.FirstFragment) != f.Count || f.FirstFragment[0] != 0) {
		tb.Errorf("encapsulated frames %+v", f)
	}
	for _, r := range f.Fragments {
		if !r.Within(size) {
			tb.Errorf("fragment at %+v of %d bytes", r, size)
		}
	}
	for i, first := range f.FirstFragment {
		if first >= len(f.Fragments) || i > 0 && first <= f.FirstFragment[i-1] {
			tb.Errorf("frame %d begins with fragment %d", i, first)
		}
	}
}

// TestDataSetsAgreeWithDCMTK compares the DICOM JSON of every real file with
// dcm2json's. What may differ is in agree.
func TestDataSetsAgreeWithDCMTK(t *testing.T) {
	dir := corpus(t)
	if _, err := exec.LookPath("dcm2json"); err != nil {
		t.Skip("dcm2json of DCMTK is not installed")
	}
	compared := 0
	for n, name := range corpusFiles(t, dir) {
		if strings.HasPrefix(name, "series") && n%10 != 0 {
			continue
		}
		if strings.HasSuffix(name, "chrSQEncoding.dcm") {
			continue // dcm2json does not follow SpecificCharacterSet into sequences
		}
		file, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		_, _, res, err := readFile(file)
		if err != nil {
			continue
		}
		out, err := exec.CommandContext(t.Context(), "dcm2json", "-q", "-ee", filepath.Join(dir, name)).Output()
		if err != nil {
			continue // it knows neither all character sets nor all transfer syntaxes
		}
		compared++
		agree(t, name, decodeAny(t, res.DataSet.AppendJSON(nil)), decodeAny(t, out))
	}
	if compared < 100 {
		t.Errorf("only %d files were compared", compared)
	}
}

func decodeAny(t *testing.T, text []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func agree(t *testing.T, path string, ours, peer any) {
	t.Helper()
	switch o := ours.(type) {
	case map[string]any:
		p, _ := peer.(map[string]any)
		agreeObjects(t, path, o, p)
	case []any:
		p, _ := peer.([]any)
		if len(p) != len(o) {
			t.Errorf("%s: %v, dcm2json %v", path, ours, peer)
			return
		}
		for i := range o {
			agree(t, path+"."+strconv.Itoa(i), o[i], p[i])
		}
	default:
		if !sameValue(fmt.Sprint(ours), fmt.Sprint(peer)) {
			t.Errorf("%s: %.80v, dcm2json %.80v", path, ours, peer)
		}
	}
}

func agreeObjects(t *testing.T, path string, o, p map[string]any) {
	t.Helper()
	_, bulk := o["BulkDataURI"]
	switch {
	case bulk: // dcm2json has it inline
		return
	case o["vr"] == "UN" || p["vr"] == "UN": // it knows private attributes, and we give UN its VR back
		return
	case o["Alphabetic"] != nil && p == nil: // it drops names of delimiters only
		o = map[string]any{}
	}
	for name := range p {
		switch name {
		case "00080005", "FFFCFFFC": // ISO_IR 192 here; padding is left out
			continue
		}
		if o[name] == nil {
			t.Errorf("%s.%s: only in dcm2json: %.80v", path, name, p[name])
		}
	}
	for name := range o {
		switch {
		case name == "00080005":
		case p[name] == nil && onlyDelimiters(o[name]):
		case p[name] == nil:
			t.Errorf("%s.%s: only here: %.80v", path, name, o[name])
		default:
			agree(t, path+"."+name, o[name], p[name])
		}
	}
}

// onlyDelimiters tells values of a person name that has no letters.
func onlyDelimiters(v any) bool {
	text := fmt.Sprint(v)
	return strings.Trim(strings.TrimPrefix(text, "[map[Alphabetic:"), "^]") == ""
}

// sameValue allows for numbers written in another way, trailing delimiters of
// person names, and padding of odd binary values.
func sameValue(ours, peer string) bool {
	a, err := strconv.ParseFloat(ours, 64)
	b, err2 := strconv.ParseFloat(peer, 64)
	if err == nil && err2 == nil {
		return a == b || math.Abs(a-b) <= 1e-6*math.Abs(b) || float32(a) == float32(b)
	}
	return strings.TrimRight(ours, "^") == peer || strings.TrimRight(ours, "=") == strings.TrimRight(peer, "A=")
}
