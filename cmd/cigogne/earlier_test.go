package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestEarlierBuild: what the last build left whose digests were SHA-256, a pack
// and an instance in the journal, is refused by every command that reads it, in
// words that say what to do, and stays as it is.
func TestEarlierBuild(t *testing.T) {
	t.Parallel()
	const index, journal, archive = "index", "journal", "archive"
	for name, c := range map[string]struct {
		without  []string
		commands []string
		names    string
	}{
		"as it was left":      {nil, []string{"serve", "fsck", "archive verify", "archive repair", "archive list", "archive rebuild-index"}, ""},
		"without its index":   {[]string{index}, []string{"serve", "archive rebuild-index"}, "journal header of version 1"},
		"without its journal": {[]string{journal}, []string{"serve", "archive verify"}, "schema version 2"},
		"its archive alone":   {[]string{journal, index}, []string{"archive rebuild-index"}, "pack of version 1"},
		"its journal alone":   {[]string{index, archive}, []string{"serve"}, "journal header of version 1"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, command := range c.commands {
				dir := t.TempDir()
				untar(t, "testdata/earlier.tar.gz", dir)
				for _, part := range c.without {
					if err := os.RemoveAll(filepath.Join(dir, part)); err != nil {
						t.Fatal(err)
					}
				}
				before := contents(t, dir)
				code, said := told(t, dir, command)
				if code != exitFailure || !strings.Contains(said, "SHA-256 and not BLAKE3") || !strings.Contains(said, c.names) || !strings.Contains(said, "cigogne pull") {
					t.Errorf("%s: exit code %d, %s", command, code, said)
				}
				for name, was := range before {
					if now, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(now) != was {
						t.Errorf("%s changed %s (%v)", command, name, err)
					}
				}
			}
		})
	}
}

// TestEarlierPackBeside: a pack that an earlier build wrote is a stray that is
// named, and not damaged; an index is not made anew past it.
func TestEarlierPackBeside(t *testing.T) {
	t.Parallel()
	dir, from := t.TempDir(), t.TempDir()
	node := serve(t, dir, "--log-level", "error")
	node.stop()
	untar(t, "testdata/earlier.tar.gz", from)
	if err := os.CopyFS(filepath.Join(dir, "archive", "studies"), os.DirFS(filepath.Join(from, "archive", "studies"))); err != nil {
		t.Fatal(err)
	}
	for command, want := range map[string]int{"archive verify": exitPartly, "fsck": exitPartly, "archive rebuild-index": exitFailure} {
		code, said := told(t, dir, command)
		if code != want || !strings.Contains(said, "2.25.11/2.25.21/") || !strings.Contains(said, "pack of version 1") || strings.Contains(said, ".zip is damaged") {
			t.Errorf("%s: exit code %d, %s", command, code, said)
		}
	}
}

// contents are the files below a folder.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		name, rerr := filepath.Rel(dir, path)
		files[name] = string(b)
		return errors.Join(err, rerr)
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	return files
}

// untar unpacks the files of an archive that is ours.
func untar(t *testing.T, from, dir string) {
	t.Helper()
	f, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.Clean("/"+h.Name))
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o700)
		} else {
			var b []byte
			if b, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(path, b, 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
