package dicomweb_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCorpus sends real files in by STOW-RS and wants them back by WADO-RS bit
// for bit, with metadata that is JSON and a first frame where there is one.
// Malformed ones may be stored or refused, and do no harm.
func TestCorpus(t *testing.T) {
	dir := os.Getenv("CIGOGNE_DICOM_DIR")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "dicom")
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no real files: %v", err)
	}
	s := newServer(t)
	stored := 0
	err := filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(file, ".dcm") {
			return err
		}
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		s.instances = nil // one at a time: many of them have the same UIDs
		res := s.post(t, "/studies", "application/dicom", bytes.NewReader(b))
		switch malformed := strings.Contains(file, "malformed"); {
		case res.StatusCode == http.StatusOK:
			stored++
			s.comesBack(t, file, res.outcome(t), b, malformed)
		case res.StatusCode == http.StatusConflict && s.unnamed > 0: // test images without a study
			s.unnamed = 0
		case res.StatusCode != http.StatusConflict || !malformed:
			t.Errorf("%s: %s %s", file, res.Status, clipped(res.body))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d files stored", stored)
}

func (s server) comesBack(t *testing.T, file string, o outcome, want []byte, malformed bool) {
	t.Helper()
	if len(o.Stored) != 1 {
		t.Errorf("%s: 200 with %d instances", file, len(o.Stored))
		return
	}
	url := strings.TrimPrefix(o.Stored[0]["00081190"].first().(string), s.root)
	if got := s.get(t, url, "Accept", "application/dicom"); got.StatusCode != http.StatusOK || !bytes.Equal(got.body, want) {
		t.Errorf("%s: %s, or other bytes", file, got.Status)
	}
	if meta := s.get(t, url+"/metadata"); meta.StatusCode != http.StatusOK || !json.Valid(meta.body) {
		t.Errorf("%s: metadata %s", file, meta.Status)
	}
	frame := s.get(t, url+"/frames/1", "Accept", "*/*")
	if s.instances[0].result.Layout.Frames != nil && frame.StatusCode != http.StatusOK && !malformed {
		t.Errorf("%s: frame %s %s", file, frame.Status, clipped(frame.body))
	}
}
