package pack_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/pack"
)

func settings() []pack.Compression { return []pack.Compression{pack.Deflate, pack.Zstd} }

// images is a series of all kinds: an image of one frame, of many, of large
// and of very small ones, one that is small itself, and some that stay as they
// are.
func images() []pack.Member {
	jpeg := image(7, 1, 64<<10)
	jpeg.TransferSyntaxUID = "1.2.840.10008.1.2.4.50"
	return []pack.Member{
		image(1, 1, 512<<10), image(2, 40, 30<<10), image(3, 2, 1200<<10), image(4, 1, 16<<10), // compressed
		image(5, 1, 600), instance(6, 600<<10, 300), jpeg, // tiny, noise, compressed already
	}
}

func TestCompressedRoundTrip(t *testing.T) {
	members := images()
	none := build(t, pack.Options{}, members)
	for _, c := range settings() {
		t.Run(string(c), func(t *testing.T) {
			p := build(t, pack.Options{SpoolDir: t.TempDir(), Compression: c}, members)
			stored := read(t, p)
			if int64(len(stored)) != p.Size() || p.Size() > none.Size()*3/4 {
				t.Errorf("%d bytes, Size says %d; %d are not compressed", len(stored), p.Size(), none.Size())
			}
			checkDirectory(t, stored, members)
			if found := problems(t, stored); len(found) != 0 {
				t.Error(found)
			}
			d := directory(t, stored)
			for i, e := range d.Entries {
				want := c
				if i >= 4 {
					want = pack.None
				}
				if e.Compression() != want || (e.Stored().Length < e.Size) != (want != pack.None) {
					t.Errorf("instance %d is compressed by %s, of %d bytes to %d", i+1, e.Compression(), e.Size, e.Stored().Length)
				}
			}
			if !p.Matches(d) || !none.Matches(d) || !p.Matches(directory(t, read(t, none))) {
				t.Error("packs of the same members do not match")
			}
		})
	}
}

// TestNothingToCompress: a pack of what cannot be compressed is the same
// whatever the setting is.
func TestNothingToCompress(t *testing.T) {
	members := images()[4:]
	want := read(t, build(t, pack.Options{}, members))
	for _, c := range settings() {
		if got := read(t, build(t, pack.Options{Compression: c}, members)); !bytes.Equal(got, want) {
			t.Errorf("%s: other bytes than without", c)
		}
	}
	if _, err := pack.Build(t.Context(), pack.Options{Compression: "lzma"}, members); !errors.Is(err, storage.ErrUnsupported) {
		t.Errorf("an unknown setting: %v, want storage.ErrUnsupported", err)
	}
}

// TestCompressedBytesDependOnMembersAlone: not on the room in the spool, the
// number of processors, nor the order.
func TestCompressedBytesDependOnMembersAlone(t *testing.T) {
	members := images()
	for _, c := range settings() {
		want := read(t, build(t, pack.Options{Compression: c}, members))
		shuffled := slices.Clone(members)
		slices.Reverse(shuffled)
		for name, o := range map[string]pack.Options{
			"spool in a file":    {SpoolMemory: 1},
			"no room in a spool": {SpoolInstances: 1},
			"some room":          {SpoolInstances: 900 << 10},
		} {
			o.Compression, o.SpoolDir = c, t.TempDir()
			if got := read(t, build(t, o, shuffled)); !bytes.Equal(got, want) {
				t.Errorf("%s, %s: other bytes", c, name)
			}
		}
		before := runtime.GOMAXPROCS(1)
		got := read(t, build(t, pack.Options{Compression: c}, members))
		runtime.GOMAXPROCS(before)
		if !bytes.Equal(got, want) {
			t.Errorf("%s: other bytes on one processor", c)
		}
	}
}

// TestCompressedRanges reads ranges of packs that are not written yet, as
// archives do, and of the instances in them, as readers do.
func TestCompressedRanges(t *testing.T) {
	members, ranges := images(), 15
	if testing.Short() {
		ranges = 3
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for _, c := range settings() {
		for _, room := range []int64{0, 1} {
			p := build(t, pack.Options{Compression: c, SpoolInstances: room}, members)
			stored := read(t, p)
			for range 2 * ranges {
				from := rng.Int64N(p.Size() + 1)
				r := storage.Range{Offset: from, Length: rng.Int64N(p.Size() - from + 1)}
				got, err := readRange(p, r)
				if err != nil || !bytes.Equal(got, stored[r.Offset:r.End()]) {
					t.Fatalf("%s: %+v: other bytes (%v)", c, r, err)
				}
			}
			d := directory(t, stored)
			for i, m := range members {
				whole, err := readRange(memberBlob{m}, storage.Range{Length: m.Size})
				if err != nil {
					t.Fatal(err)
				}
				for range ranges {
					from := rng.Int64N(m.Size + 1)
					r := storage.Range{Offset: from, Length: rng.Int64N(m.Size - from + 1)}
					if got := readEntry(t, d, stored, i, r); !bytes.Equal(got, whole[r.Offset:r.End()]) {
						t.Fatalf("%s: instance %d %+v: other bytes", c, i+1, r)
					}
				}
				if _, err := d.Open(t.Context(), stored, i, storage.Range{Offset: 1, Length: m.Size}); !errors.Is(err, storage.ErrInvalid) {
					t.Errorf("a range beyond its end: %v, want storage.ErrInvalid", err)
				}
			}
		}
	}
}

// TestFramesAreReachedAlone counts what is read of the pack for one frame.
func TestFramesAreReachedAlone(t *testing.T) {
	const frame, frames = 512 << 10, 20
	for _, c := range settings() {
		stored := &counted{Blob: read(t, build(t, pack.Options{Compression: c}, []pack.Member{image(1, frames, frame)}))}
		d := directory(t, stored)
		per := d.Entries[0].Stored().Length / frames
		for _, n := range []int64{1, 10, 19} {
			stored.ranges = nil
			readEntry(t, d, stored, 0, storage.Range{Offset: prefix + 64 + n*frame, Length: frame})
			if len(stored.ranges) != 1 || stored.ranges[0].Length > per*11/10 {
				t.Errorf("%s: frame %d took %v; a frame takes %d", c, n, stored.ranges, per)
			}
		}
	}
}

// extract is what a tool gets out of a pack.
func extract(t *testing.T, members []pack.Member, entry func(name string) []byte) {
	t.Helper()
	for _, m := range members {
		want, err := readRange(memberBlob{m}, storage.Range{Length: m.Size})
		if err != nil {
			t.Fatal(err)
		}
		if got := entry(m.Key.SOPInstanceUID + ".dcm"); !bytes.Equal(got, want) {
			t.Errorf("%s: %d other bytes than the %d that were packed", m.Key, len(got), len(want))
		}
	}
}

// TestCommonToolsOpenCompressedPacks: those that know nothing of blocks.
func TestCommonToolsOpenCompressedPacks(t *testing.T) {
	members := images()
	for _, c := range settings() {
		stored := read(t, build(t, pack.Options{Compression: c}, members))
		file := writeFile(t, stored)
		with := func(tool string, fn func(t *testing.T)) { t.Run(string(c)+"/"+tool, fn) }
		with("archive/zip", func(t *testing.T) {
			z, err := zip.NewReader(bytes.NewReader(stored), stored.Size())
			if err != nil {
				t.Fatal(err)
			}
			z.RegisterDecompressor(zstd.ZipMethodWinZip, zstd.ZipDecompressor())
			extract(t, members, func(name string) []byte {
				f, err := z.Open(name)
				if err != nil {
					t.Fatal(err)
				}
				all, err := io.ReadAll(f) // verifies the CRC-32
				if err := errors.Join(err, f.Close()); err != nil {
					t.Error(name, err)
				}
				return all
			})
		})
		with("7z", func(t *testing.T) {
			if c == pack.Zstd && !strings.Contains(run(t, "7z", "i"), "zstd") {
				t.Skip("this 7z knows no Zstandard")
			}
			if out := run(t, "7z", "t", file); !strings.Contains(out, "Everything is Ok") {
				t.Error(out)
			}
			extract(t, members, func(name string) []byte { return []byte(run(t, "7z", "e", "-so", file, name)) })
		})
		with("bsdtar", func(t *testing.T) {
			extract(t, members, func(name string) []byte { return []byte(run(t, "bsdtar", "-xOf", file, name)) })
		})
		with("unzip", func(t *testing.T) {
			if c == pack.Zstd {
				t.Skip("Info-ZIP knows no Zstandard")
			}
			if out := run(t, "unzip", "-t", file); !strings.Contains(out, "No errors detected") {
				t.Error(out)
			}
			extract(t, members, func(name string) []byte { return []byte(run(t, "unzip", "-p", file, name)) })
		})
		with("python", func(t *testing.T) {
			if out := run(t, "python3", "-c", "import zipfile; print(hasattr(zipfile, 'ZIP_ZSTANDARD'))"); c == pack.Zstd && strings.TrimSpace(out) != "True" {
				t.Skip("Python knows Zstandard from 3.14 on")
			}
			if entries := pythonList(t, file); len(entries) != len(members)+2 {
				t.Errorf("Python sees %d entries", len(entries))
			}
		})
	}
}

// TestMetadataIsDeflatedInEachSetting: what a person reads stays readable by
// all tools.
func TestMetadataIsDeflatedInEachSetting(t *testing.T) {
	for _, c := range settings() {
		file := writeFile(t, read(t, build(t, pack.Options{Compression: c}, images())))
		if out := run(t, "unzip", "-p", file, "index.ndjson"); !strings.Contains(out, `"compressed":{"method":"`+string(c)+`"`) {
			t.Errorf("%s: index.ndjson is %.300s", c, out)
		}
	}
}

// TestCompressedMemoryIsBounded packs and reads an instance of a size that
// would be seen.
func TestCompressedMemoryIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("measures memory")
	}
	const size, allowed = 128 << 20, 40 << 20
	for _, c := range settings() {
		for _, room := range []int64{0, 1} {
			m := zeroMember(t, 1, size)
			m.Layout = nil
			runtime.GC()
			var heap peak
			heap.look()
			p := build(t, pack.Options{Compression: c, SpoolDir: t.TempDir(), SpoolInstances: room}, []pack.Member{m})
			heap.look()
			stored := read(t, p)
			d := directory(t, stored)
			rc, err := d.Open(t.Context(), stored, 0, storage.Range{Length: size})
			if err != nil {
				t.Fatal(err)
			}
			var total int64
			for err == nil {
				var n int64
				n, err = io.CopyN(io.Discard, rc, 8<<20)
				total += n
				heap.look()
			}
			rc.Close()
			if !errors.Is(err, io.EOF) || total != size {
				t.Errorf("%d bytes came: %v", total, err)
			}
			if grown := heap.most - heap.start; grown > allowed {
				t.Errorf("%s: %d bytes took %d of memory, want at most %d", c, size, grown, allowed)
			}
		}
	}
}

// TestSpoolForgetsWhatStaysStored: an entry that did not shrink is not kept.
func TestSpoolForgetsWhatStaysStored(t *testing.T) {
	dir := t.TempDir()
	members := []pack.Member{instance(1, 600<<10, 300), image(2, 1, 512<<10), instance(3, 5<<20, 300), image(4, 1, 16<<10)}
	for _, c := range settings() {
		for _, memory := range []int{0, 1} {
			stored := read(t, build(t, pack.Options{Compression: c, SpoolDir: dir, SpoolMemory: memory}, members))
			checkDirectory(t, stored, members)
		}
	}
	if names, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(names) != 0 {
		t.Errorf("the spool has the names %q (%v)", names, err)
	}
	if _, err := pack.Build(t.Context(), pack.Options{Compression: pack.Zstd, SpoolDir: filepath.Join(dir, "missing"), SpoolMemory: 1}, members); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a spool in a missing folder: %v", err)
	}
}

// TestLargeBlockTable opens a pack whose index line is longer than a buffer.
func TestLargeBlockTable(t *testing.T) {
	const size = 400 << 20
	if testing.Short() {
		t.Skip("400 MiB of zeros take some seconds")
	}
	m := zeroMember(t, 1, size)
	m.Layout = nil
	stored := read(t, build(t, pack.Options{Compression: pack.Zstd}, []pack.Member{m}))
	d := directory(t, stored)
	if got := readEntry(t, d, stored, 0, storage.Range{Offset: size - 10, Length: 10}); !bytes.Equal(got, make([]byte, 10)) {
		t.Errorf("its end is %x", got)
	}
	if d.Memory() < 8000 {
		t.Errorf("the Directory takes %d bytes, it says", d.Memory())
	}
}
