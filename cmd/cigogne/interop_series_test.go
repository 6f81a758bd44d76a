package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// TestRealSeries sends two whole series at full speed, each by storescu and
// by dcmsend. Every instance comes back with its Data Set as in the file, from
// the journal and from the packs.
func TestRealSeries(t *testing.T) {
	t.Parallel()
	dir := dicomDir(t)
	if testing.Short() {
		t.Skip("74 MB are sent twice")
	}
	for name, folder := range map[string]string{
		"MR": filepath.Join(dir, "series", "mr-ge-epi-150"),
		"CT": unpack(t, filepath.Join(dir, "series", "ct-philips-140.tar.gz")),
	} {
		files, total := readSeries(t, folder)
		for _, way := range [][]string{{"storescu", "+sd", "+r"}, {"dcmsend", "+sd", "+r"}} {
			t.Run(name+" by "+way[0], func(t *testing.T) {
				tool(t, way[0])
				node := serveQuiet(t, "--settle", "50ms")
				host, port := node.hostPort()
				began := time.Now()
				mustRun(t, way[0], append(way[1:], "-aec", "CIGOGNE", host, port, folder)...)
				took := time.Since(began)
				t.Logf("%d instances in %v: %.0f/s, %.0f MB/s, the start of %s included",
					len(files), took, float64(len(files))/took.Seconds(), float64(total)/1e6/took.Seconds(), way[0])
				allComeBack(t, node, files)
				node.archived()
				allComeBack(t, node, files)
			})
		}
	}
}

func allComeBack(t *testing.T, node *process, files []*realFile) {
	t.Helper()
	for _, f := range files {
		if _, err := comesBack(t.Context(), node, f, f.dataSet); err != nil {
			t.Errorf("%s: %v", f.name, err)
		}
	}
}

func readSeries(t *testing.T, folder string) (files []*realFile, total int64) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		f, err := readReal(folder, path)
		if err = errors.Join(err, f.flaw); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		files, total = append(files, f), total+int64(len(f.whole))
	}
	if len(files) < 100 {
		t.Fatalf("%s has only %d files", folder, len(files))
	}
	return files, total
}

// unpack extracts the files of an archive into one folder.
func unpack(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		b, err := io.ReadAll(r)
		if err = errors.Join(err, os.WriteFile(filepath.Join(dir, filepath.Base(h.Name)), b, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestEchoSCU asks with DCMTK whether the node is there, under its own name,
// under the one that DCMTK uses when it is told none, and under another's.
func TestEchoSCU(t *testing.T) {
	t.Parallel()
	echoscu := tool(t, "echoscu")
	node := serveQuiet(t)
	host, port := node.hostPort()
	mustRun(t, echoscu, "-aec", "CIGOGNE", host, port)
	mustRun(t, echoscu, host, port)
	if text, code, err := output(t.Context(), echoscu, "-aec", "NOBODY", host, port); err != nil || code == 0 {
		t.Errorf("an AE title that is not ours: exit code %d, %v\n%s", code, err, text)
	}
}

// TestAsyncWindow: a window of 16 that is asked for is granted, and none to
// who asks for none.
func TestAsyncWindow(t *testing.T) {
	t.Parallel()
	node := serveQuiet(t)
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 1, Modality: "CR", Instances: 200})
	a, err := associate(t.Context(), node.dimse, 16, study.Instances[0])
	if err != nil {
		t.Fatal(err)
	}
	defer a.Abort()
	if a.Window() != 16 {
		t.Errorf("the window is %d, want 16", a.Window())
	}
	all := make(chan error)
	for _, in := range study.Instances {
		go func() { all <- cstore(t.Context(), a, in, bytes.NewReader(in.DataSet())) }()
	}
	for range study.Instances {
		if err := <-all; err != nil {
			t.Error(err)
		}
	}
	if err := a.Release(t.Context()); err != nil {
		t.Error(err)
	}
	none, err := associate(t.Context(), node.dimse, 0, study.Instances[0])
	if err != nil {
		t.Fatal(err)
	}
	defer none.Abort()
	if none.Window() != 1 {
		t.Errorf("a window of %d was granted to who asked for none", none.Window())
	}
}
