package main

import (
	"archive/zip"
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// TestRealFilesPacked packs every real file, with each --pack-compression. Each
// comes back from its pack byte by byte, File Meta Information included, and
// the packs are read by tools that know nothing of us.
func TestRealFilesPacked(t *testing.T) {
	t.Parallel()
	for compression, check := range map[string][]string{
		"none":    {"unzip", "-tqq"},
		"deflate": {"unzip", "-tqq"},
		"zstd":    {"7z", "t", "-bso0"},
	} {
		t.Run(compression, func(t *testing.T) {
			if testing.Short() && compression != "deflate" {
				t.Skip("one setting is enough")
			}
			tool(t, check[0])
			var packs []string
			for _, node := range stowFiles(t, realFiles(t), "--settle", "50ms", "--pack-compression", compression) {
				node.archived()
				packs = append(packs, comeFromPacks(t, node)...)
			}
			for _, pack := range packs {
				mustRun(t, check[0], append(check[1:], pack)...)
			}
			t.Logf("%d packs", len(packs))
			if compression == "zstd" {
				return // Python knows it from 3.14 on
			}
			mustRun(t, tool(t, "python3"), append([]string{"-c", "import sys, zipfile\n" +
				"for p in sys.argv[1:]:\n z = zipfile.ZipFile(p)\n bad = z.testzip()\n" +
				" assert bad is None and all(len(z.read(i)) == i.file_size for i in z.infolist()), (p, bad)"}, packs...)...)
		})
	}
}

// comeFromPacks checks that a node's files come back from its packs, which are
// returned, and stops it.
func comeFromPacks(t *testing.T, node stowed) []string {
	t.Helper()
	for _, f := range node.files {
		got, err := retrieve(t.Context(), node.web, f.key)
		if err != nil {
			t.Errorf("%s: %v", f.name, err)
		} else if !bytes.Equal(got, f.whole) && !withPreamble(got, f) {
			t.Errorf("%s does not come back from its pack as it was", f.name)
		}
	}
	dir := node.dataDir()
	found := packsIn(t, filepath.Join(dir, "archive"))
	holdFiles(t, found, node.files)
	node.stop()
	fsck(t, dir)
	return found
}

func (p *process) dataDir() string {
	return p.cmd.Args[slices.Index(p.cmd.Args, "--data-dir")+1]
}

// withPreamble tells that got is the file, which had none.
func withPreamble(got []byte, f *realFile) bool {
	_, dataSet := splitFile(got)
	return bytes.Equal(dataSet, f.dataSet) && string(f.whole[128:132]) != "DICM"
}

func packsIn(t *testing.T, dir string) (packs []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".zip") {
			packs = append(packs, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return packs
}

// holdFiles fails unless the packs hold just these files, of which dcmdump
// shows what it shows of the originals.
func holdFiles(t *testing.T, packs []string, files []*realFile) {
	t.Helper()
	bySOP := map[string]*realFile{}
	for _, f := range files {
		bySOP[f.key.SOPInstanceUID] = f
	}
	var inPack, original []string
	dir := t.TempDir()
	for _, pack := range packs {
		z, err := zip.OpenReader(pack)
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		z.RegisterDecompressor(zstd.ZipMethodWinZip, zstd.ZipDecompressor())
		for _, entry := range z.File {
			sop, isFile := strings.CutSuffix(entry.Name, ".dcm")
			if !isFile {
				continue
			}
			f := bySOP[sop]
			delete(bySOP, sop)
			b := readEntry(t, entry)
			if f == nil || !bytes.Equal(b, f.whole) && !withPreamble(b, f) {
				t.Errorf("%s of %s is not the file that was stored", entry.Name, pack)
				continue
			}
			at := filepath.Join(dir, entry.Name)
			if err := os.WriteFile(at, b, 0o600); err != nil {
				t.Fatal(err)
			}
			inPack, original = append(inPack, at), append(original, f.path)
		}
	}
	if len(bySOP) > 0 {
		t.Errorf("no pack holds %d of the files", len(bySOP))
	}
	sameDump(t, inPack, original)
}

func readEntry(t *testing.T, entry *zip.File) []byte {
	t.Helper()
	r, err := entry.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sameDump compares what dcmdump says of the files, one by one.
func sameDump(t *testing.T, ours, theirs []string) {
	t.Helper()
	dumps := [2][]string{}
	for i, paths := range [][]string{ours, theirs} {
		text, _, err := output(t.Context(), tool(t, "dcmdump"), append([]string{"-q", "+F"}, paths...)...)
		if err != nil {
			t.Fatal(err)
		}
		dumps[i] = regexp.MustCompile(`(?m)^# dcmdump \(\d+/\d+\): .*$`).Split(text, -1)
	}
	if len(dumps[0]) != len(dumps[1]) || len(dumps[0]) <= len(ours) && len(ours) > 1 {
		t.Fatalf("%d dumps of %d, %d files", len(dumps[0]), len(dumps[1]), len(ours))
	}
	for i := range dumps[0] {
		if dumps[0][i] != dumps[1][i] {
			t.Errorf("dcmdump says of %v\n%.300s\nand of ours\n%.300s", theirs, dumps[1][i], dumps[0][i])
		}
	}
}

// TestFileMetaPassesDciodvfy looks at the File Meta Information that we write
// for what came by DIMSE: dciodvfy finds in such a file what it finds in the
// original, and nothing more.
func TestFileMetaPassesDciodvfy(t *testing.T) {
	t.Parallel()
	dciodvfy := tool(t, "dciodvfy")
	node := serveQuiet(t)
	for _, f := range waves(realFiles(t))[0] {
		if f.flaw != nil || !f.hasMeta || !strings.HasPrefix(f.name, "modality") {
			continue
		}
		if outcome, err := bySCU(t.Context(), node, f); outcome != identical {
			t.Fatalf("%s: %s, %v", f.name, outcome, err)
		}
		b, err := retrieve(t.Context(), node.web, f.key)
		if err != nil {
			t.Fatal(err)
		}
		at := filepath.Join(t.TempDir(), "ours.dcm")
		if err := os.WriteFile(at, b, 0o600); err != nil {
			t.Fatal(err)
		}
		theirs, _, err := output(t.Context(), dciodvfy, f.path)
		if err != nil {
			t.Fatal(err)
		}
		ours, _, err := output(t.Context(), dciodvfy, at)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(ours) {
			if strings.HasPrefix(line, "Error") && !strings.Contains(theirs, line) {
				t.Errorf("%s: dciodvfy says of ours only: %s", f.name, line)
			}
		}
	}
}
