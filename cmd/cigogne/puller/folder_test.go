package puller

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/esante-alsace/cigogne/gateway/dicomweb"
	"github.com/esante-alsace/cigogne/storage"
)

// TestNewFoldersAreMadeDurable: a study is lost with the folder above it whose
// name a power cut takes away.
func TestNewFoldersAreMadeDurable(t *testing.T) {
	there := t.TempDir()
	var synced []string
	d := &folderPlace{root: filepath.Join(there, "new", "newer"), study: "2.25.1", sync: func(folder string) error {
		synced = append(synced, folder)
		return syncFolder(folder)
	}}
	file := []byte("DICOM")
	p, err := newPlan(d.study, dicomweb.Digests{ETag: `"x"`, Size: 100, Instances: []dicomweb.DigestOf{
		{SeriesInstanceUID: "2.25.2", SOPInstanceUID: "2.25.3", Offset: 50, Size: int64(len(file)), Digest: storage.DigestOf(file)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.begin(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	f, err := d.open(0)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := d.complete(0, func() {}); err != nil {
		t.Fatal(err)
	}
	if err := d.finish(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	for path := filepath.Dir(d.path(0)); path != filepath.Dir(there); path = filepath.Dir(path) {
		if !slices.Contains(synced, path) {
			t.Errorf("%s was not synced, but %q", path, synced)
		}
	}
}
