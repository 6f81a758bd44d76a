package dicom_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// BenchmarkScanner reads a CT of 526 KB in the chunks of a 64 KiB PDU.
func BenchmarkScanner(b *testing.B) {
	dataSet := dicomtest.NewStudy(dicomtest.Options{Seed: 1}).Instances[0].DataSet()
	b.SetBytes(int64(len(dataSet)))
	b.ReportAllocs()
	for b.Loop() {
		s := dicom.NewScanner(dicomtest.ExplicitLE, dicom.ScanLimits{})
		for p := dataSet; len(p) > 0; {
			n, err := s.Write(p[:min(len(p), 64<<10)])
			if err != nil {
				b.Fatal(err)
			}
			p = p[n:]
		}
		if _, err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAppendJSON writes the metadata of that CT.
func BenchmarkAppendJSON(b *testing.B) {
	dataSet := dicomtest.NewStudy(dicomtest.Options{Seed: 1}).Instances[0].DataSet()
	s := dicom.NewScanner(dicomtest.ExplicitLE, dicom.ScanLimits{})
	if _, err := s.Write(dataSet); err != nil {
		b.Fatal(err)
	}
	r, err := s.Close()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	var text []byte
	for b.Loop() {
		text = r.DataSet.AppendJSON(text[:0])
	}
	b.SetBytes(int64(len(text)))
}

// BenchmarkUnmarshalJSON reads it back.
func BenchmarkUnmarshalJSON(b *testing.B) {
	dataSet := dicomtest.NewStudy(dicomtest.Options{Seed: 1}).Instances[0].DataSet()
	var text bytes.Buffer
	if err := dicom.WriteJSON(&text, bytes.NewReader(dataSet), dicomtest.ExplicitLE, dicom.ScanLimits{}); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	for b.Loop() {
		var ds dicom.DataSet
		if err := ds.UnmarshalJSON(text.Bytes()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReader shows how fast the generator streams a multi-frame.
func BenchmarkReader(b *testing.B) {
	i := dicomtest.NewStudy(dicomtest.Options{Seed: 1, Frames: 100}).Instances[0]
	b.SetBytes(i.Size())
	for b.Loop() {
		if _, err := io.Copy(io.Discard, i.Reader()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkScannerRealHeader reads a real CT with some 250 elements, most of
// them private.
func BenchmarkScannerRealHeader(b *testing.B) {
	file, err := os.ReadFile(filepath.Join(corpus(b), "transfer-syntax", "pydicom--CT_small.dcm"))
	if err != nil {
		b.Fatal(err)
	}
	p, dataSet, r, err := readFile(file)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(dataSet)))
	b.ReportAllocs()
	for b.Loop() {
		s := dicom.NewScanner(p.Meta.TransferSyntaxUID, dicom.ScanLimits{})
		if _, err := s.Write(dataSet); err != nil {
			b.Fatal(err)
		}
		if _, err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(r.DataSet)), "elements")
}
