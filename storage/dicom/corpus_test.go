package dicom_test

import (
	"bufio"
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

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

func TestX(t *testing.T) {
	dir := corpus(t)
	for _, name := range corpusFiles(t, dir) {
		file, _ := os.ReadFile(filepath.Join(dir, name))
		p, _, res, err := readFile(file)
		if strings.HasPrefix(name, "series/mr") && err == nil {
			continue
		}
		if err != nil {
			t.Log(name, p != nil, err)
			continue
		}
		if res.Layout.Frames == nil || res.Overflow || res.SOPInstanceUID == "" || strings.HasPrefix(name, "malf") {
			t.Log(name, p.Meta.TransferSyntaxUID, p.Guessed, res.Overflow, res.SOPInstanceUID, len(res.DataSet), res.Layout.Frames != nil, len(res.Layout.Bulk), res.DataSet.String(0x00280008))
		}
	}
}
