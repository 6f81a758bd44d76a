//go:build unix

package pack_test

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
	"github.com/esante-alsace/cigogne/storage/pack"
)

// kinds are the series that compression is measured on: two real ones, where
// CIGOGNE_DICOM_DIR says that they are, and synthetic ones.
func kinds() map[string]func(testing.TB) []pack.Member {
	return map[string]func(testing.TB) []pack.Member{
		"CT":          realCT,
		"MR":          realMR,
		"synthetic":   func(t testing.TB) []pack.Member { return synthetic(t, 100, 1) },
		"multi-frame": func(t testing.TB) []pack.Member { return synthetic(t, 1, 100) },
	}
}

func realDir(t testing.TB) string {
	dir := os.Getenv("CIGOGNE_DICOM_DIR")
	if dir == "" {
		t.Skip("CIGOGNE_DICOM_DIR names no collection of DICOM files")
	}
	return filepath.Join(dir, "series")
}

// realCT is a Philips CT of a phantom: 140 slices of 512 x 512.
func realCT(t testing.TB) (members []pack.Member) {
	f, err := os.Open(filepath.Join(realDir(t), "ct-philips-140.tar.gz"))
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return members
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			members = append(members, fileMember(t, r))
		}
	}
}

// realMR is a GE EPI: 150 slices of 64 x 64.
func realMR(t testing.TB) (members []pack.Member) {
	files, err := filepath.Glob(filepath.Join(realDir(t), "mr-ge-epi-150", "*.dcm"))
	if err != nil || len(files) == 0 {
		t.Skip("no MR")
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		members = append(members, fileMember(t, f))
		f.Close()
	}
	return members
}

func synthetic(t testing.TB, instances, frames int) (members []pack.Member) {
	for _, in := range dicomtest.NewStudy(dicomtest.Options{Seed: 1, Instances: instances, Frames: frames}).Instances {
		members = append(members, fileMember(t, bytes.NewReader(in.Part10())))
	}
	return members
}

// fileMember is a member of a Part 10 file, under a name of the tests' series.
func fileMember(t testing.TB, r io.Reader) pack.Member {
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	head, err := dicom.ReadPart10(bufio.NewReader(bytes.NewReader(data)))
	if err != nil {
		t.Fatal(err)
	}
	dataSet := data[len(head.Prefix):]
	s := dicom.NewScanner(head.Meta.TransferSyntaxUID, dicom.ScanLimits{})
	if _, err := s.Write(dataSet); err != nil {
		t.Fatal(err)
	}
	found, err := s.Close()
	if err != nil {
		t.Fatal(err)
	}
	m := member(0, data, string(found.DataSet.AppendJSON(nil)))
	m.Key.SOPInstanceUID, m.TransferSyntaxUID, m.Layout = found.SOPInstanceUID, head.Meta.TransferSyntaxUID, &found.Layout
	m.Prefix, m.CRC32 = int64(len(data)-len(dataSet)), crc32.ChecksumIEEE(data)
	return m
}

// processor is the time that all goroutines took.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func bytesOf(members []pack.Member) (total int64) {
	for _, m := range members {
		total += m.Size
	}
	return total
}

// BenchmarkCompression packs a series and reads it back, with each setting:
// ratio is of the instances' bytes to those of the whole pack, MB/core-s are of
// the instances' bytes and of the time of all processors. Packing is laying
// out and reading as an archive does; unpacking is every instance, whole.
func BenchmarkCompression(b *testing.B) {
	for name, load := range kinds() {
		b.Run(name, func(b *testing.B) {
			members := load(b)
			for _, c := range []pack.Compression{pack.None, pack.Deflate, pack.Zstd} {
				o := pack.Options{Compression: c, SpoolDir: b.TempDir()}
				b.Run("pack/"+string(c), func(b *testing.B) { benchmarkPack(b, o, members) })
				b.Run("unpack/"+string(c), func(b *testing.B) { benchmarkUnpack(b, o, members) })
				b.Run("frame/"+string(c), func(b *testing.B) { benchmarkFrame(b, o, members) })
			}
		})
	}
}

// perCore reports what was done in the processors' time since it began.
func perCore(b *testing.B, size int64, began time.Duration) {
	b.ReportMetric(float64(size)*float64(b.N)/1e6/(processor()-began).Seconds(), "MB/core-s")
}

func benchmarkPack(b *testing.B, o pack.Options, members []pack.Member) {
	total := bytesOf(members)
	b.SetBytes(total)
	began := processor()
	for b.Loop() {
		p, err := pack.Build(b.Context(), o, members)
		if err != nil {
			b.Fatal(err)
		}
		r, err := p.Open(b.Context(), storage.Range{Length: p.Size()})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			b.Fatal(err)
		}
		r.Close()
		b.ReportMetric(float64(total)/float64(p.Size()), "ratio")
		p.Close()
	}
	perCore(b, total, began)
}

func benchmarkUnpack(b *testing.B, o pack.Options, members []pack.Member) {
	stored := inFile(b, o, members)
	d := directory(b, stored)
	total := bytesOf(members)
	b.SetBytes(total)
	b.ReportAllocs()
	began := processor()
	for b.Loop() {
		for i, e := range d.Entries {
			copyRange(b, d, stored, i, storage.Range{Length: e.Size})
		}
	}
	perCore(b, total, began)
}

// benchmarkFrame reads one frame of an instance, any of them.
func benchmarkFrame(b *testing.B, o pack.Options, members []pack.Member) {
	stored := inFile(b, o, members)
	d := directory(b, stored)
	rng := rand.New(rand.NewPCG(1, 1))
	for b.Loop() {
		m := members[rng.IntN(len(members))]
		i, _ := d.Find(m.Key.SOPInstanceUID)
		f := m.Layout.Frames
		frame := storage.Range{Offset: f.FrameBits / 8 * int64(rng.IntN(f.Count)), Length: f.FrameBits / 8}
		copyRange(b, d, stored, i, m.DataSet().Sub(f.Native).Sub(frame))
	}
}

// inFile is a pack in a file, as in an archive.
func inFile(b *testing.B, o pack.Options, members []pack.Member) pack.Blob {
	b.Helper()
	stored := read(b, build(b, o, members))
	f, err := os.Create(filepath.Join(b.TempDir(), "pack.zip"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	if _, err := f.Write(stored); err != nil {
		b.Fatal(err)
	}
	return fileBlob{f, stored.Size()}
}

// discard takes what it is given as a socket does: a copy of it.
type discard struct{ buf []byte }

func (d *discard) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		rest = rest[copy(d.buf, rest):]
	}
	return len(p), nil
}

func copyRange(b *testing.B, d *pack.Directory, stored pack.Blob, i int, r storage.Range) {
	b.Helper()
	rc, err := d.Open(context.Background(), stored, i, r)
	if err != nil {
		b.Fatal(err)
	}
	if n, err := io.Copy(&discard{make([]byte, 64<<10)}, rc); err != nil || n != r.Length {
		b.Fatalf("%d bytes, %v", n, err)
	}
	rc.Close()
}
