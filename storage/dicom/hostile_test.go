package dicom_test

import (
	"bytes"
	"errors"
	"io"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

func TestLiesAreRefused(t *testing.T) {
	for name, dataSet := range dicomtest.Lies() {
		for _, chunk := range []int{1, 5, 1 << 20} {
			if _, err := scan(t, dicomtest.ExplicitLE, dataSet, chunk); !errors.Is(err, storage.ErrInvalid) {
				t.Errorf("%s in chunks of %d: %v", name, chunk, err)
			}
		}
		if err := dicom.WriteJSON(io.Discard, bytes.NewReader(dataSet), dicomtest.ExplicitLE, dicom.ScanLimits{}); !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("%s: WriteJSON: %v", name, err)
		}
	}
}

func TestNesting(t *testing.T) {
	for _, nested := range []func(int) []byte{dicomtest.NestedDefined, dicomtest.NestedUndefined} {
		r, err := scan(t, dicomtest.ExplicitLE, nested(32), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		depth := 0
		for ds := r.DataSet; ; depth++ {
			e, ok := ds.Get(0x0040A730)
			if !ok {
				break
			}
			ds = e.Items[0]
		}
		if depth != 32 {
			t.Errorf("%d levels came out of 32", depth)
		}
		for _, depth := range []int{33, 10_000, 100_000} {
			if _, err := scan(t, dicomtest.ExplicitLE, nested(depth), 4096); !errors.Is(err, storage.ErrInvalid) {
				t.Errorf("depth %d: %v", depth, err)
			}
		}
	}
}

// A Data Set that is cut anywhere but behind a top-level element is refused.
func TestCutDataSets(t *testing.T) {
	for _, ts := range []string{dicomtest.ExplicitLE, dicomtest.ImplicitLE, dicomtest.ExplicitBE, dicomtest.RLE, dicomtest.Deflated} {
		whole := dicomtest.NewStudy(dicomtest.Options{Modality: "CR", TransferSyntaxUID: ts}).Instances[0].DataSet()
		accepted := 0
		cuts := append(ascending(2000), len(whole)-8, len(whole)-2, len(whole)-1)
		for _, n := range cuts {
			r, err := scan(t, ts, whole[:n], 1<<20)
			switch {
			case err == nil:
				accepted++
				if _, ok := r.DataSet.Get(dicomtest.PixelData); ok && ts != dicomtest.Deflated {
					t.Errorf("%s cut at %d of %d has pixels", ts, n, len(whole))
				}
			case !errors.Is(err, storage.ErrInvalid):
				t.Errorf("%s cut at %d: %v", ts, n, err)
			}
		}
		if accepted > 100 || accepted == 0 && ts != dicomtest.Deflated { // ends of top-level elements
			t.Errorf("%s: %d cuts were accepted", ts, accepted)
		}
	}
}

func ascending(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

func TestInflationIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("inflates hundreds of megabytes")
	}
	bomb, err := dicomtest.Bomb(256 << 20)
	if err != nil {
		t.Fatal(err)
	}
	for name, limits := range map[string]dicom.ScanLimits{"ratio": {}, "length": {MaxInflated: 1 << 20, MaxRatio: math.MaxInt64}} {
		s := dicom.NewScanner(dicomtest.Deflated, limits)
		_, err := s.Write(bomb)
		if err == nil {
			_, err = s.Close()
		} else {
			s.Abort()
		}
		if !errors.Is(err, storage.ErrTooLarge) {
			t.Errorf("limit of %s: %v", name, err)
		}
	}
}

// An abandoned deflated Data Set leaves no goroutine.
func TestAbortEndsTheInflater(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 100 {
		s := dicom.NewScanner(dicomtest.Deflated, dicom.ScanLimits{})
		if _, err := s.Write([]byte{1, 2, 3}); err != nil && !errors.Is(err, storage.ErrInvalid) {
			t.Fatal(err)
		}
		s.Abort()
	}
	if after := runtime.NumGoroutine(); after > before+10 {
		t.Errorf("%d goroutines, before %d", after, before)
	}
}

// Memory stays bounded whatever the length of the Data Set, and what
// identifies an instance is kept.
func TestOverflow(t *testing.T) {
	var b dicomtest.Builder
	dicomtest.Identity(&b, dicomtest.CTImage, "2.25.3", "2.25.1", "2.25.2")
	b.Header(0x00285555, "SQ", dicomtest.Undefined)
	for range 200_000 {
		b.Header(0xFFFEE000, "", dicomtest.Undefined).Text(0x00080100, "SH", "CODE").Header(0xFFFEE00D, "", 0)
	}
	b.Header(0xFFFEE0DD, "", 0)
	b.Text(0x00400244, "DA", "20250101")
	b.Text(0x00880140, "UI", "2.25.9")
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	r, err := scan(t, dicomtest.ExplicitLE, b.Bytes(), 64<<10)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	if kept := int64(after.HeapAlloc) - int64(before.HeapAlloc); kept > 2<<20 {
		t.Errorf("%d bytes are kept", kept)
	}
	if _, ok := r.DataSet.Get(0x00285555); ok || !r.Overflow {
		t.Errorf("overflow %v, sequence kept %v", r.Overflow, ok)
	}
	if r.StudyInstanceUID != "2.25.1" || r.DataSet.String(0x00400244) != "20250101" || r.DataSet.String(0x00880140) != "2.25.9" {
		t.Errorf("lost: %v", r.DataSet)
	}
	var whole bytes.Buffer
	if err := dicom.WriteJSON(&whole, bytes.NewReader(b.Bytes()), dicomtest.ExplicitLE, dicom.ScanLimits{}); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(whole.String(), `"CODE"`); n != 200_000 {
		t.Errorf("WriteJSON wrote %d of 200000 items", n)
	}
	runtime.KeepAlive(r)
}

// A multi-frame of 3 GB goes through in the memory of a small one.
func TestLongDataSetTakesNoMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("reads 3 GB")
	}
	i := dicomtest.NewStudy(dicomtest.Options{Frames: 6000}).Instances[0]
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s := dicom.NewScanner(i.TransferSyntaxUID, dicom.ScanLimits{})
	n, err := io.CopyBuffer(struct{ io.Writer }{s}, i.Reader(), make([]byte, 64<<10))
	if err != nil || n != i.Size() {
		t.Fatalf("%d bytes of %d: %v", n, i.Size(), err)
	}
	r, err := s.Close()
	runtime.ReadMemStats(&after)
	if err != nil || r.Layout.Frames == nil || r.Layout.Frames.Count != 6000 {
		t.Fatalf("%+v, %v", r, err)
	}
	if total := after.TotalAlloc - before.TotalAlloc; total > 1<<20 { // 576 KiB are the generator's frame and the buffer
		t.Errorf("%d bytes were allocated", total)
	}
}

// Items cost memory even when they are empty.
func TestEmptyItemsOverflow(t *testing.T) {
	var b dicomtest.Builder
	dicomtest.Identity(&b, dicomtest.CTImage, "2.25.3", "2.25.1", "2.25.2")
	b.Header(0x00285555, "SQ", dicomtest.Undefined)
	for range 1_000_000 {
		b.Header(0xFFFEE000, "", 0)
	}
	b.Header(0xFFFEE0DD, "", 0)
	r, err := scan(t, dicomtest.ExplicitLE, b.Bytes(), 64<<10)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := r.DataSet.Get(0x00285555); ok || !r.Overflow {
		t.Errorf("overflow %v, sequence kept %v", r.Overflow, ok)
	}
}

func TestElementsAreCounted(t *testing.T) {
	b := dicomtest.Builder{}
	for i := range uint32(101) {
		b.US(0x00280010+i, 1)
	}
	s := dicom.NewScanner(dicomtest.ExplicitLE, dicom.ScanLimits{MaxElements: 100})
	defer s.Abort()
	if _, err := s.Write(b.Bytes()); !errors.Is(err, storage.ErrInvalid) {
		t.Errorf("101 elements of 100: %v", err)
	}
}

// Traversal is nothing to the scanner, which hands the text on; ValidUID of
// package storage stops it.
func TestUIDsAreHandedOnAsTheyAre(t *testing.T) {
	var b dicomtest.Builder
	dicomtest.Identity(&b, dicomtest.CTImage, "../../x", "/etc/passwd", "1.2\x00.3")
	r, err := scan(t, dicomtest.ExplicitLE, b.Bytes(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	key := storage.InstanceKey{StudyInstanceUID: r.StudyInstanceUID, SeriesInstanceUID: r.SeriesInstanceUID, SOPInstanceUID: r.SOPInstanceUID}
	if r.SOPInstanceUID != "../../x" || key.Validate() == nil {
		t.Errorf("key %+v", key)
	}
}
