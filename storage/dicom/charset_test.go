package dicom_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

const patientName dicom.Tag = 0x00100010

func TestCharacterSets(t *testing.T) {
	for _, c := range []struct{ name, charset, raw, want string }{
		{"default", "", "Meyer^Jean", "Meyer^Jean"},
		{"Latin-1", "ISO_IR 100", "M\xfcller", "Müller"},
		{"misspelt", "ISO_IR_100", "M\xfcller", "Müller"},
		{"by another name", "ISO 8859-2", "\xa3\xf3d\xbc", "Łódź"},
		{"Latin-2", "ISO_IR 101", "\xa3\xf3d\xbc", "Łódź"},
		{"Latin-9", "ISO_IR 203", "\xa4\xbd", "€œ"},
		{"Cyrillic", "ISO_IR 144", "\xbb\xee\xda", "Люк"},
		{"Greek", "ISO_IR 126", "\xc4\xe9\xef", "Διο"},
		{"Arabic", "ISO_IR 127", "\xe2\xc8\xc7\xe6", "قبان"},
		{"Hebrew", "ISO_IR 138", "\xf9\xf8\xe5\xef", "שרון"},
		{"Turkish", "ISO_IR 148", "\xdd\xfe", "İş"},
		{"Thai", "ISO_IR 166", "\xb9\xd2\xc2", "นาย"},
		{"half-width katakana", "ISO_IR 13", "\xd4\xcf\xc0\xde^\xc0\xdb\xb3", "ﾔﾏﾀﾞ^ﾀﾛｳ"},
		{"UTF-8", "ISO_IR 192", "Wœrth", "Wœrth"},
		{"UTF-8, misspelt", "UTF-8", "Wœrth", "Wœrth"},
		{"UTF-8 that is none", "ISO_IR 192", "W\xffrth", "W\uFFFDrth"},
		{"unknown, but UTF-8", "KLINGON", "Wœrth", "Wœrth"},
		{"unknown, taken as Latin-1", "KLINGON", "M\xfcller", "Müller"},
		{"none, but UTF-8", "", "Müller", "Müller"},
		{"GB18030", "GB18030", "Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab", "Wang^XiaoDong=王^小东"},
		{"GBK, backslash as second byte", "GBK", "\x98\x5c", "榎"},
		{"Japanese", `\ISO 2022 IR 87`, "Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B", "Yamada^Tarou=山田^太郎=やまだ^たろう"},
		{"Japanese, katakana first", `ISO 2022 IR 13\ISO 2022 IR 87`, "\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎"},
		{"Korean", `\ISO 2022 IR 149`, "Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf", "Hong^Gildong=洪^吉洞=홍^길동"},
		{"Korean without escapes", `\ISO 2022 IR 149`, "\xc8\xab^\xb1\xe6\xb5\xbf", "홍^길동"},
		{"Chinese with extensions", `\ISO 2022 IR 58`, "Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab", "Zhang^XiaoDong=张^小东"},
		{"switched tables", `ISO 2022 IR 100\ISO 2022 IR 144`, "M\xfc^\x1b-L\xbb\xee\xda^M\xfc", "Mü^Люк^Mü"},
		{"cut in the middle", `\ISO 2022 IR 87`, "A=\x1b$B;", "A=;"},
		{"an escape alone", `\ISO 2022 IR 87`, "A\x1b", "A"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b dicomtest.Builder
			b.Text(0x00080005, "CS", c.charset).Text(uint32(patientName), "PN", c.raw)
			r, err := scan(t, dicomtest.ExplicitLE, b.Bytes(), 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if got := r.DataSet.String(patientName); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// A sequence item may have a SpecificCharacterSet of its own; the next item
// has that of the Data Set again (PS3.3 §C.12.1.1.2).
func TestCharacterSetOfAnItem(t *testing.T) {
	var b dicomtest.Builder
	b.Text(0x00080005, "CS", "ISO_IR 100")
	b.Sequence(0x00081140,
		func(in *dicomtest.Builder) {
			in.Text(0x00080005, "CS", "ISO_IR 126").Text(uint32(patientName), "PN", "\xc4\xe9")
		},
		func(in *dicomtest.Builder) { in.Text(uint32(patientName), "PN", "\xc4\xe9") })
	r, err := scan(t, dicomtest.ExplicitLE, b.Bytes(), 3)
	if err != nil {
		t.Fatal(err)
	}
	e, _ := r.DataSet.Get(0x00081140)
	if len(e.Items) != 2 || e.Items[0].String(patientName) != "Δι" || e.Items[1].String(patientName) != "Äé" {
		t.Errorf("items %+v", e.Items)
	}
}

// A multi-valued attribute is split after decoding: 5C may be half a letter.
func TestValuesAreSplitAfterDecoding(t *testing.T) {
	var b dicomtest.Builder
	b.Text(0x00080005, "CS", "GB18030").Text(0x00101001, "PN", "\x98\x5c\\B")
	r, err := scan(t, dicomtest.ExplicitLE, b.Bytes(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if e, _ := r.DataSet.Get(0x00101001); len(e.Values) != 2 || e.Values[1] != "B" {
		t.Errorf("values %q", e.Values)
	}
}

func TestGeneratedNames(t *testing.T) {
	for _, n := range dicomtest.Names() {
		i := dicomtest.NewStudy(dicomtest.Options{Modality: "CR", PatientName: n.Bytes, CharacterSet: n.CharacterSet}).Instances[0]
		r, err := scan(t, dicomtest.ExplicitLE, i.DataSet(), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.DataSet.String(patientName); got != n.UTF8 {
			t.Errorf("%q, want %q", got, n.UTF8)
		}
	}
}

func TestRealCharacterSets(t *testing.T) {
	dir := filepath.Join(corpus(t), "charset")
	for name, want := range map[string]string{
		"pydicom--chrFren.dcm":     "Buc^Jérôme",
		"pydicom--chrGreek.dcm":    "Διονυσιος",
		"pydicom--chrH31.dcm":      "Yamada^Tarou=山田^太郎=やまだ^たろう",
		"pydicom--chrHbrw.dcm":     "שרון^דבורה",
		"pydicom--chrI2.dcm":       "Hong^Gildong=洪^吉洞=홍^길동",
		"pydicom--chrJapMulti.dcm": "やまだ^たろう",
		"pydicom--chrX1.dcm":       "Wang^XiaoDong=王^小東",
	} {
		file, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		_, _, r, err := readFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.DataSet.String(patientName); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
