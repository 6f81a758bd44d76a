package pusher

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// FuzzDICOMDIR: whatever a media directory says, nothing panics, and what it
// refers to lies in its folder or is refused.
func FuzzDICOMDIR(f *testing.F) {
	for _, id := range []string{`A\B`, `..\B`, `/B`, ``, `A\..\..\B`, "A\x00"} {
		var b dicomtest.Builder
		b.Sequence(0x00041220, func(b *dicomtest.Builder) { b.US(0x00041410, 0xFFFF).Text(0x00041500, "CS", id) })
		f.Add(append(dicomtest.FileMeta(mediaStorageDirectory, "2.25.1", dicomtest.ExplicitLE), b.Bytes()...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		path := filepath.Join(dir, "DICOMDIR")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		at := &finder{}
		defer at.close()
		at.readDICOMDIR(t.Context(), source{name: path, path: path, size: int64(len(b)), named: true}, func(s source, err error) bool {
			if err == nil && (s.root == nil || !filepath.IsLocal(s.path) || strings.Contains(s.path, "..")) {
				t.Errorf("%q", s.path)
			}
			return true
		})
	})
}
