package dicom_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// TestWhatIsWrittenIsReadAgain writes what was read of every real file that is
// well-formed, but for its bulk values, and reads the same again.
func TestWhatIsWrittenIsReadAgain(t *testing.T) {
	dir := corpus(t)
	written := 0
	for _, name := range corpusFiles(t, dir) {
		if strings.HasPrefix(name, "malformed/") {
			continue // values of odd length come back longer
		}
		file, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		_, _, r, err := readFile(file)
		if err != nil || r.Overflow {
			continue
		}
		ds := inUTF8(r.DataSet)
		b, err := dicom.AppendExplicit(nil, ds)
		if errors.Is(err, storage.ErrInvalid) {
			continue // a value that its VR cannot have
		}
		again, err := scan(t, dicomtest.ExplicitLE, b, len(b)+1)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, want := again.DataSet.AppendJSON(nil), ds.AppendJSON(nil); !bytes.Equal(got, want) {
			t.Errorf("%s:\nwrote %.600s\nread  %.600s", name, want, got)
		}
		written++
	}
	if written < 100 {
		t.Errorf("only %d files were written", written)
	}
}

// inUTF8 is ds without bulk values, said to be in UTF-8 at all levels.
func inUTF8(ds dicom.DataSet) dicom.DataSet {
	var out dicom.DataSet
	for _, e := range ds {
		if e.Bulk != nil {
			continue
		}
		if e.Tag == 0x00080005 {
			e.Values = []string{"ISO_IR 192"}
		}
		items := e.Items
		e.Items = nil
		for _, item := range items {
			e.Items = append(e.Items, inUTF8(item))
		}
		out = append(out, e)
	}
	return out
}

func TestWhatCannotBeWritten(t *testing.T) {
	element := func(tag dicom.Tag, vr dicom.VR, values ...string) dicom.Element {
		return dicom.Element{Tag: tag, VR: vr, Values: values}
	}
	deep := dicom.DataSet{element(0x00080050, "SH", "x")}
	for range 20 {
		deep = dicom.DataSet{{Tag: 0x00081115, VR: "SQ", Items: []dicom.DataSet{deep}}}
	}
	for name, ds := range map[string]dicom.DataSet{
		"out of order":        {element(0x00100020, "LO", "1"), element(0x00100010, "PN", "A")},
		"no VR":               {element(0x00100020, "", "1")},
		"bulk":                {{Tag: 0x7FE00010, VR: "OW", Bulk: &dicom.Bulk{}}},
		"a number that isn't": {element(0x00280010, "US", "many")},
		"a number too large":  {element(0x00280010, "US", "65536")},
		"two texts":           {element(0x00204000, "LT", "a", "b")},
		"a backslash":         {element(0x00080050, "SH", `a\b`)},
		"too long":            {element(0x00080050, "SH", string(make([]byte, 70_000)))},
		"too deep":            deep,
	} {
		if _, err := dicom.AppendExplicit(nil, ds); !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
