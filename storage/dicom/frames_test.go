package dicom_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// described begins an image of 4 x 4 pixels of one byte.
func described(frames string) *dicomtest.Builder {
	b := &dicomtest.Builder{}
	b.US(0x00280002, 1)
	if frames != "" {
		b.Text(0x00280008, "IS", frames)
	}
	return b.US(0x00280010, 4).US(0x00280011, 4).US(0x00280100, 8)
}

func TestEncapsulatedFrames(t *testing.T) {
	jpeg := func(n int) []byte { return append([]byte{0xFF, 0xD8, 0xFF, 0xE0}, make([]byte, n-4)...) }
	rest := func(n int) []byte { return bytes.Repeat([]byte{7}, n) }
	extended := described("2")
	extended.Binary(0x7FE00001, "OV", binary.LittleEndian.AppendUint64(make([]byte, 8), 8+10+8+6))
	for _, c := range []struct {
		name    string
		dataSet []byte
		first   []int // nil: the frames can't be told apart
	}{
		{"one frame", described("").Encapsulated(nil, jpeg(10)).Bytes(), []int{0}},
		{"one frame in fragments", described("1").Encapsulated(nil, jpeg(10), rest(8)).Bytes(), []int{0}},
		{"one fragment each", described("2").Encapsulated(nil, rest(10), rest(8)).Bytes(), []int{0, 1}},
		{"by the Basic Offset Table", described("2").Encapsulated([]uint32{0, 8 + 10 + 8 + 6}, rest(10), rest(6), rest(8)).Bytes(), []int{0, 2}},
		{"by the Extended Offset Table", extended.Encapsulated(nil, rest(10), rest(6), rest(8)).Bytes(), []int{0, 2}},
		{"a table that lies, markers", described("2").Encapsulated([]uint32{0, 9}, jpeg(10), rest(6), jpeg(8)).Bytes(), []int{0, 2}},
		{"by the codestreams' markers", described("2").Encapsulated(nil, jpeg(10), rest(6), jpeg(8)).Bytes(), []int{0, 2}},
		{"video", described("100").Encapsulated(nil, rest(1000)).Bytes(), nil},
		{"no fragments", described("1").Encapsulated(nil).Bytes(), nil},
	} {
		for _, chunk := range []int{1, 3, 1 << 20} {
			r, err := scan(t, dicomtest.HTJ2K, c.dataSet, chunk)
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			f := r.Layout.Frames
			if c.first == nil {
				if f != nil {
					t.Errorf("%s: %+v", c.name, f)
				}
				continue
			}
			checkLayout(t, r.Layout, int64(len(c.dataSet)))
			if f == nil || f.Count != len(c.first) || f.FirstFragment[f.Count-1] != c.first[f.Count-1] {
				t.Errorf("%s: %+v", c.name, f)
				continue
			}
			last := f.Fragments[len(f.Fragments)-1]
			if end := last.End(); end != int64(len(c.dataSet)-8) {
				t.Errorf("%s: the last fragment ends at %d of %d", c.name, end, len(c.dataSet))
			}
		}
	}
}

func TestNativeFrames(t *testing.T) {
	for _, c := range []struct {
		name    string
		dataSet []byte
		count   int // 0: the frames can't be told apart
		bits    int64
	}{
		{"one", described("").Binary(dicomtest.PixelData, "OW", make([]byte, 16)).Bytes(), 1, 128},
		{"three", described("3").Binary(dicomtest.PixelData, "OB", make([]byte, 48)).Bytes(), 3, 128},
		{"shorter than described", described("4").Binary(dicomtest.PixelData, "OB", make([]byte, 48)).Bytes(), 0, 0},
		{"NumberOfFrames is no number", described("1A").Binary(dicomtest.PixelData, "OB", make([]byte, 16)).Bytes(), 1, 128},
		{"huge", new(dicomtest.Builder).US(0x00280002, 65535).Text(0x00280008, "IS", "2147483647").US(0x00280010, 65535).
			US(0x00280011, 65535).US(0x00280100, 65535).Binary(dicomtest.PixelData, "OB", make([]byte, 256)).Bytes(), 0, 0},
		{"one bit", new(dicomtest.Builder).Text(0x00280008, "IS", "3").US(0x00280010, 3).US(0x00280011, 3).
			US(0x00280100, 1).Binary(dicomtest.PixelData, "OB", make([]byte, 4)).Bytes(), 3, 9},
		{"YBR_FULL_422", new(dicomtest.Builder).US(0x00280002, 3).Text(0x00280004, "CS", "YBR_FULL_422").US(0x00280010, 4).
			US(0x00280011, 4).US(0x00280100, 8).Binary(dicomtest.PixelData, "OB", make([]byte, 32)).Bytes(), 1, 256},
	} {
		r, err := scan(t, dicomtest.ExplicitLE, c.dataSet, 7)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		f := r.Layout.Frames
		if f == nil {
			f = &dicom.Frames{}
		}
		if f.Count != c.count || f.FrameBits != c.bits {
			t.Errorf("%s: %+v", c.name, f)
		}
		checkLayout(t, dicom.Layout{Frames: r.Layout.Frames}, int64(len(c.dataSet)))
	}
}

// Bulk values are found where they lie, inside sequences too.
func TestBulk(t *testing.T) {
	value := bytes.Repeat([]byte("wave"), 1000)
	var b dicomtest.Builder
	b.OpenSequence(0x54000100, func(in *dicomtest.Builder) {}, func(in *dicomtest.Builder) { in.Binary(0x54001010, "OW", value) })
	b.Encapsulated(nil, []byte{1, 2})
	r, err := scan(t, dicomtest.RLE, b.Bytes(), 11)
	if err != nil {
		t.Fatal(err)
	}
	l := r.Layout.Bulk
	if len(l) != 2 || l[0].Path != "54000100.1.54001010" || l[1].Path != "7FE00010" {
		t.Fatalf("bulk %+v", l)
	}
	if at := l[0].Range; !bytes.Equal(b.Bytes()[at.Offset:at.End()], value) {
		t.Errorf("%+v is not the value", at)
	}
	// From the Basic Offset Table's item up to the delimiter.
	if at := l[1].Range; at.Length != 8+8+2 || at.End() != int64(b.Len()-8) {
		t.Errorf("encapsulated at %+v of %d", at, b.Len())
	}
	e, _ := r.DataSet.Get(dicomtest.PixelData)
	if e.Bulk == nil || e.Bulk.Range != l[1].Range {
		t.Errorf("element %+v", e)
	}
}
