package main

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/esante-alsace/cigogne/storage/dicom"
)

// TestRealCharacterSets: QIDO-RS has the names of patients as dcm2json has
// them, and finds them again by each component group, whatever the case and
// the accents, whole or by their beginning.
func TestRealCharacterSets(t *testing.T) {
	t.Parallel()
	tool(t, "dcm2json")
	var files []*realFile
	for _, f := range realFiles(t) {
		if strings.HasPrefix(f.name, "charset/") {
			files = append(files, f)
		}
	}
	for _, node := range stowFiles(t, files) {
		for _, f := range node.files {
			name := nameIn(t, f)
			found, err := search(t.Context(), node.web, "studies", url.Values{"StudyInstanceUID": {f.key.StudyInstanceUID}})
			if err != nil || len(found) != 1 {
				t.Fatalf("%s: %d studies, %v", f.name, len(found), err)
			}
			if got := found[0].String(0x00100010); got != name {
				t.Errorf("%s: %q, dcm2json %q", f.name, got, name)
			}
			for group := range strings.SplitSeq(name, "=") {
				for _, asked := range spellings(group) {
					finds(t, node.process, f, asked)
				}
			}
		}
	}
}

// nameIn is PatientName as dcm2json has it, its groups parted by '='; the C
// library that DCMTK decodes with does not have every ISO 2022 encoding.
func nameIn(t *testing.T, f *realFile) string {
	t.Helper()
	if name, ok := standardNames()[f.name]; ok {
		return name
	}
	var object struct {
		PatientName struct{ Value []map[string]string } `json:"00100010"`
	}
	if err := json.Unmarshal([]byte(mustRun(t, "dcm2json", "-q", f.path)), &object); err != nil {
		t.Fatalf("%s: %v", f.name, err)
	}
	values := object.PatientName.Value
	if len(values) == 0 {
		t.Fatalf("%s: no PatientName", f.name)
	}
	return strings.TrimRight(values[0]["Alphabetic"]+"="+values[0]["Ideographic"]+"="+values[0]["Phonetic"], "=")
}

// standardNames are those that dcm2json cannot decode: the examples of PS3.5
// Annexes H and I.
func standardNames() map[string]string {
	return map[string]string{
		"charset/pydicom--chrH31.dcm":      "Yamada^Tarou=山田^太郎=やまだ^たろう",
		"charset/pydicom--chrJapMulti.dcm": "やまだ^たろう",
	}
}

// spellings are ways to ask for a component group. The voiced sound marks of
// kana are no accents: た and だ are two letters.
func spellings(group string) []string {
	if group == "" {
		return nil
	}
	bare := strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) && r != '\u3099' && r != '\u309A' {
			return -1
		}
		return r
	}, norm.NFD.String(group))
	family, _, _ := strings.Cut(group, "^")
	return []string{group, strings.ToLower(group), strings.ToUpper(group), norm.NFC.String(bare), strings.ToLower(family) + "*"}
}

func finds(t *testing.T, node *process, f *realFile, asked string) {
	t.Helper()
	found, err := search(t.Context(), node.web, "studies", url.Values{"PatientName": {asked}, "limit": {"100"}})
	if err != nil {
		t.Errorf("%s: %q: %v", f.name, asked, err)
		return
	}
	for _, ds := range found {
		if ds.String(dicom.Tag(0x0020000D)) == f.key.StudyInstanceUID {
			return
		}
	}
	t.Errorf("%s: not found as %q", f.name, asked)
}
