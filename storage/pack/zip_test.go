package pack_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/pack"
)

// run runs a tool that opens ZIP files, or skips when there is none.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	tool, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	out, err := exec.CommandContext(t.Context(), tool, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// python prints the name, sizes, offset and date of each entry, after reading
// all of those below a size.
const python = `
import json, sys, zipfile
z = zipfile.ZipFile(sys.argv[1])
for i in z.infolist():
    if i.file_size < 1 << 30:
        with z.open(i) as f:
            while f.read(1 << 20): pass
    print(json.dumps([i.filename, i.file_size, i.compress_size, i.header_offset, i.date_time[0]]))
`

type listed struct {
	name                     string
	size, compressed, offset int64
}

func pythonList(t *testing.T, file string) []listed {
	t.Helper()
	var entries []listed
	for line := range strings.Lines(run(t, "python3", "-c", python, file)) {
		var e listed
		var year int
		if err := json.Unmarshal([]byte(line), &[]any{&e.name, &e.size, &e.compressed, &e.offset, &year}); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if year != 1980 {
			t.Errorf("%s is of the year %d", e.name, year)
		}
		entries = append(entries, e)
	}
	return entries
}

func writeFile(t *testing.T, b blob) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "pack.zip")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestCommonToolsOpenPacks(t *testing.T) {
	members := ctSeries(20, 4000, 30_000)
	p := build(t, pack.Options{}, members)
	stored := read(t, p)
	file := writeFile(t, stored)
	d := directory(t, stored)
	checkList := func(t *testing.T, entries []listed) {
		if len(entries) != len(members)+2 {
			t.Fatalf("%d entries, want %d", len(entries), len(members)+2)
		}
		for i, e := range d.Entries {
			if entries[i].name != e.Key.SOPInstanceUID+".dcm" || entries[i].size != e.Size || entries[i].compressed != e.Size {
				t.Errorf("entry %d: %+v, want %+v", i, entries[i], e)
			}
		}
		if last := entries[len(members):]; last[0].name != "metadata.ndjson" || last[1].name != "index.ndjson" {
			t.Errorf("the last entries are %+v", last)
		}
	}
	t.Run("archive/zip", func(t *testing.T) {
		z, err := zip.NewReader(bytes.NewReader(stored), stored.Size())
		if err != nil {
			t.Fatal(err)
		}
		var entries []listed
		for _, f := range z.File {
			rc, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, rc); err != nil { // verifies the CRC-32
				t.Errorf("%s: %v", f.Name, err)
			}
			rc.Close()
			entries = append(entries, listed{f.Name, int64(f.UncompressedSize64), int64(f.CompressedSize64), 0})
		}
		checkList(t, entries)
	})
	t.Run("python", func(t *testing.T) { checkList(t, pythonList(t, file)) })
	t.Run("unzip", func(t *testing.T) {
		if out := run(t, "unzip", "-t", file); !strings.Contains(out, "No errors detected") {
			t.Error(out)
		}
		if out := run(t, "unzip", "-l", file); !strings.Contains(out, fmt.Sprintf("%d files", len(members)+2)) {
			t.Error(out)
		}
		var lines int
		for line := range strings.Lines(run(t, "unzip", "-p", file, "metadata.ndjson")) {
			var detail struct {
				SOPInstanceUID string
				Attributes     map[string]any
			}
			if err := json.Unmarshal([]byte(line), &detail); err != nil || detail.SOPInstanceUID != d.Entries[lines].Key.SOPInstanceUID || len(detail.Attributes) < 3 {
				t.Fatalf("line %d of metadata.ndjson: %v %.100s", lines, err, line)
			}
			lines++
		}
		if lines != len(members) {
			t.Errorf("%d lines of metadata, want %d", lines, len(members))
		}
	})
	t.Run("b3sum", func(t *testing.T) { // as README.md has it
		run(t, "b3sum", "--version")
		for _, e := range d.Entries {
			sum := run(t, "sh", "-c", `unzip -p "$1" "$2.dcm" | tail -c "+$3" | b3sum --no-names`, "sh", file, e.Key.SOPInstanceUID, strconv.FormatInt(e.Prefix+1, 10))
			if strings.TrimSpace(sum) != e.Digest.String() {
				t.Errorf("%s: b3sum says %s, the index %s", e.Key.SOPInstanceUID, sum, e.Digest)
			}
		}
	})
	t.Run("bsdtar", func(t *testing.T) { run(t, "bsdtar", "-xOf", file) })
}

func TestMoreThan65535Entries(t *testing.T) {
	if testing.Short() {
		t.Skip("66,000 instances take some seconds")
	}
	const n = 66_000
	members := make([]pack.Member, n)
	for i := range members {
		members[i] = member(i+1, fmt.Appendf(nil, "instance %d", i+1), "{}")
	}
	stored := read(t, build(t, pack.Options{}, members))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	d := directory(t, stored)
	runtime.GC()
	runtime.ReadMemStats(&after)
	per := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / n
	t.Logf("the Directory takes %d bytes per instance", per)
	if per > 400 {
		t.Errorf("the Directory takes %d bytes per instance, want at most 400", per)
	}
	if i, ok := d.Find(series + ".65537"); !ok || string(stored[d.Entries[i].Offset:d.Entries[i].Stored().End()]) != "instance 65537" {
		t.Errorf("instance 65537 is not where the Directory has it: %d, %t", i, ok)
	}
	if err := pack.Verify(t.Context(), stored, func(problem string) { t.Error(problem) }); err != nil {
		t.Error(err)
	}
	file := writeFile(t, stored)
	if out := run(t, "unzip", "-tqq", file); out != "" {
		t.Error(out)
	}
	if entries := pythonList(t, file); len(entries) != n+2 || entries[n-1].name != series+".66000.dcm" {
		t.Errorf("Python sees %d entries", len(entries))
	}
}

// zeros are so many bytes of nothing else.
type zeros int64

func (z zeros) Open(_ context.Context, r storage.Range) (io.ReadCloser, error) {
	return io.NopCloser(io.LimitReader(zeroReader{}, r.Length)), nil
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func zeroMember(t *testing.T, number int, size int64) pack.Member {
	crc := crc32.NewIEEE()
	if _, err := io.Copy(crc, io.LimitReader(zeroReader{}, size)); err != nil {
		t.Fatal(err)
	}
	m := member(number, nil, `{"00200013":{"vr":"IS","Value":[1]}}`)
	m.Size, m.Prefix, m.CRC32, m.Open = size, 0, crc.Sum32(), zeros(size).Open
	return m
}

// sparse writes a pack into a file that takes no space for its zeros.
func sparse(t *testing.T, p *pack.Pack) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "sparse.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := p.Open(t.Context(), storage.Range{Length: p.Size()})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	buf, zero := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := int64(0); at < p.Size(); {
		n, err := io.ReadFull(r, buf[:min(int64(len(buf)), p.Size()-at)])
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(buf[:n], zero[:n]) {
			if _, err := f.WriteAt(buf[:n], at); err != nil {
				t.Fatal(err)
			}
		}
		at += int64(n)
	}
	return f.Name()
}

type fileBlob struct {
	*os.File
	size int64
}

func (f fileBlob) Size() int64 { return f.size }
func (f fileBlob) Open(_ context.Context, r storage.Range) (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(f.File, r.Offset, r.Length)), nil
}

func TestMoreThan4GiB(t *testing.T) {
	if testing.Short() {
		t.Skip("9 GB of zeros take some seconds")
	}
	sizes := []int64{100, 1<<32 - 2, 200, 1<<32 + 5, 300} // just below ZIP64, and in it
	var members []pack.Member
	for i, size := range sizes {
		members = append(members, zeroMember(t, i+1, size))
	}
	p := build(t, pack.Options{}, members)
	file := sparse(t, p)
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stored := fileBlob{f, p.Size()}
	d := directory(t, stored)
	z, err := zip.NewReader(f, p.Size())
	if err != nil {
		t.Fatal(err)
	}
	entries := pythonList(t, file)
	for i, e := range d.Entries {
		offset, err := z.File[i].DataOffset()
		if err != nil || offset != e.Offset || int64(z.File[i].UncompressedSize64) != sizes[i] {
			t.Errorf("archive/zip has entry %d at %d, want %d (%v)", i, offset, e.Offset, err)
		}
		if entries[i].size != sizes[i] || entries[i].compressed != sizes[i] || entries[i].offset >= e.Offset || entries[i].offset < e.Offset-200 {
			t.Errorf("Python has entry %d at %+v, want %+v", i, entries[i], e.Stored())
		}
	}
	if out := run(t, "unzip", "-l", file); !strings.Contains(out, strconv.FormatInt(sizes[3], 10)) {
		t.Error(out)
	}
	if out := run(t, "unzip", "-t", file, series+".5.dcm", "*.ndjson"); !strings.Contains(out, "No errors") {
		t.Error(out)
	}
}
