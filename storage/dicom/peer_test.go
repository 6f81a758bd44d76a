package dicom_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	peer "github.com/suyashkumar/dicom"
	"github.com/suyashkumar/dicom/pkg/tag"

	"github.com/esante-alsace/cigogne/storage/dicom"
)

// TestUIDsAgreeWithTheLibrary compares every UID at top level with what
// suyashkumar/dicom reads, in the files that it can read.
func TestUIDsAgreeWithTheLibrary(t *testing.T) {
	dir := corpus(t)
	compared := 0
	for _, name := range corpusFiles(t, dir) {
		if strings.HasPrefix(name, "series") {
			continue
		}
		file, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		_, _, r, err := readFile(file)
		if err != nil {
			continue
		}
		theirs, err := parseWithLibrary(file)
		if err != nil {
			continue
		}
		compared++
		for _, e := range theirs.Elements {
			if e.RawValueRepresentation != "UI" || e.Tag.Group == tag.MetadataGroup {
				continue
			}
			values, _ := e.Value.GetValue().([]string)
			ours, _ := r.DataSet.Get(dicom.Tag(e.Tag.Uint32()))
			if got, want := strings.Join(ours.Values, `\`), strings.Trim(strings.Join(values, `\`), " \x00"); got != want {
				t.Errorf("%s: %s is %q, the library has %q", name, e.Tag, got, want)
			}
		}
	}
	if compared < 50 {
		t.Errorf("only %d files were compared", compared)
	}
}

// parseWithLibrary turns the library's panics into errors.
func parseWithLibrary(file []byte) (ds peer.Dataset, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return peer.Parse(bytes.NewReader(file), int64(len(file)), nil, peer.SkipPixelData())
}
