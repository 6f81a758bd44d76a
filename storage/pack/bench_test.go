package pack_test

import (
	"bytes"
	"context"
	"hash/crc32"
	"io"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/pack"
)

// BenchmarkBuild lays out a CT series of 500 instances with 10 KB of metadata
// each; MB/s are of metadata.
func BenchmarkBuild(b *testing.B) {
	members := ctSeries(500, 1000, 10_000)
	total := 0
	for _, m := range members {
		total += len(metadataOf(m))
	}
	b.SetBytes(int64(total))
	for b.Loop() {
		p, err := pack.Build(b.Context(), pack.Options{}, members)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(p.Size()-500*1000)/500, "overhead_B/instance")
		p.Close()
	}
}

// BenchmarkReadDirectory reads the index of the same.
func BenchmarkReadDirectory(b *testing.B) {
	stored := read(b, build(b, pack.Options{}, ctSeries(500, 1000, 10_000)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := pack.ReadDirectory(b.Context(), stored); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDetails writes the metadata of all of them, and of one alone.
func BenchmarkDetails(b *testing.B) {
	stored := read(b, build(b, pack.Options{}, ctSeries(500, 1000, 10_000)))
	d := directory(b, stored)
	for _, c := range []struct {
		name     string
		from, to int
	}{{"500", 0, 500}, {"1", 250, 251}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var n int64
				err := d.Details(b.Context(), stored, c.from, c.to, func(_ int, _ *dicom.Layout, metadata io.Reader) error {
					m, err := io.Copy(io.Discard, metadata)
					n += m
					return err
				})
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(n)
			}
		})
	}
}

// BenchmarkStream reads a pack of 64 instances of 512 KiB from memory, with
// its checksums verified.
func BenchmarkStream(b *testing.B) {
	data := make([]byte, 512<<10)
	var members []pack.Member
	for i := range 64 {
		m := member(i+1, data, attributesOf(i, 10_000))
		m.Open = func(_ context.Context, r storage.Range) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(data[r.Offset:r.End()])), nil
		}
		m.CRC32 = crc32.ChecksumIEEE(data)
		members = append(members, m)
	}
	p := build(b, pack.Options{}, members)
	b.SetBytes(p.Size())
	buf := make([]byte, 1<<20)
	for b.Loop() {
		r, err := p.Open(b.Context(), storage.Range{Length: p.Size()})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, buf); err != nil {
			b.Fatal(err)
		}
		r.Close()
	}
}

// BenchmarkVerify checks such a pack.
func BenchmarkVerify(b *testing.B) {
	stored := read(b, build(b, pack.Options{}, ctSeries(32, 512<<10, 10_000)))
	b.SetBytes(stored.Size())
	for b.Loop() {
		if err := pack.Verify(b.Context(), stored, func(problem string) { b.Error(problem) }); err != nil {
			b.Fatal(err)
		}
	}
}
