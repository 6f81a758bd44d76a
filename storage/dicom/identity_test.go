package dicom_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// Where DCMTK and pydicom would read another patient or another instance out
// of the same bytes, nothing is stored.
func TestWhatReadersSeeDifferentlyIsRefused(t *testing.T) {
	begin := func(b *dicomtest.Builder) *dicomtest.Builder {
		return b.Text(0x00080016, "UI", dicomtest.CTImage).Text(0x00080018, "UI", "1.2.3.4")
	}
	middle := func(b *dicomtest.Builder) *dicomtest.Builder { return begin(b).Text(0x00100020, "LO", "VICTIM") }
	end := func(b *dicomtest.Builder) *dicomtest.Builder {
		return b.Text(0x0020000D, "UI", "1.2.3").Text(0x0020000E, "UI", "1.2.3.1")
	}
	for name, build := range map[string]func(*dicomtest.Builder){
		"PatientID twice":            func(b *dicomtest.Builder) { end(middle(b).Text(0x00100020, "LO", "OTHER")) },
		"PatientID again at the end": func(b *dicomtest.Builder) { end(middle(b)).Text(0x00100020, "LO", "OTHER") },
		"PatientID empty, then not":  func(b *dicomtest.Builder) { end(begin(b).Text(0x00100020, "LO", "").Text(0x00100020, "LO", "X")) },
		"PatientID, then none":       func(b *dicomtest.Builder) { end(middle(b).Text(0x00100020, "LO", "")) },
		"PatientName twice":          func(b *dicomtest.Builder) { end(middle(b).Text(0x00100010, "PN", "A").Text(0x00100010, "PN", "B")) },
		"StudyInstanceUID twice":     func(b *dicomtest.Builder) { end(middle(b)).Text(0x0020000D, "UI", "1.2.4") },
		"SOPInstanceUID twice":       func(b *dicomtest.Builder) { end(middle(b).Text(0x00080018, "UI", "1.2.3.5")) },
		"PatientID of bytes":         func(b *dicomtest.Builder) { end(begin(b).Binary(0x00100020, "OB", []byte("VICTIM"))) },
		"PatientID of numbers":       func(b *dicomtest.Builder) { end(begin(b).US(0x00100020, 1)) },
		"PatientID of items":         func(b *dicomtest.Builder) { end(begin(b).Sequence(0x00100020)) },
		"PatientID of fragments":     func(b *dicomtest.Builder) { end(begin(b).Header(0x00100020, "OB", dicomtest.Undefined)) },
		"PatientID of 2 KiB":         func(b *dicomtest.Builder) { end(begin(b).Text(0x00100020, "LO", strings.Repeat("1", 2<<10))) },
		"character set behind a name": func(b *dicomtest.Builder) {
			end(middle(b).Text(0x00100010, "PN", "M\xfcller")).Text(0x00080005, "CS", "ISO_IR 101")
		},
		"two character sets": func(b *dicomtest.Builder) {
			end(middle(b.Text(0x00080005, "CS", "ISO_IR 100").Text(0x00080005, "CS", "ISO_IR 192")))
		},
		"a transfer syntax inside": func(b *dicomtest.Builder) { end(middle(b.Text(0x00020010, "UI", dicomtest.ImplicitLE))) },
		"a command element":        func(b *dicomtest.Builder) { end(middle(b.US(0x00000100, 1))) },
	} {
		var b dicomtest.Builder
		build(&b)
		for _, chunk := range []int{1, 1 << 20} {
			if r, err := scan(t, dicomtest.ExplicitLE, b.Bytes(), chunk); !errors.Is(err, storage.ErrInvalid) {
				t.Errorf("%s: %+v, %v", name, r, err)
			}
		}
	}
}

// What is odd, but the same to every reader, is taken.
func TestWhatAllReadersSeeAlikeIsTaken(t *testing.T) {
	for name, build := range map[string]func(*dicomtest.Builder){
		"the same twice": func(b *dicomtest.Builder) { b.Text(0x00100020, "LO", "ID").Text(0x00100020, "LO", "ID") },
		"as UN":          func(b *dicomtest.Builder) { b.Binary(0x00100020, "UN", []byte("ID")) },
		"another in an item": func(b *dicomtest.Builder) {
			b.Text(0x00100020, "LO", "ID").Sequence(0x00101002, func(in *dicomtest.Builder) { in.Text(0x00100020, "LO", "OTHER") })
		},
		"another in a private group": func(b *dicomtest.Builder) { b.Text(0x00100020, "LO", "ID").Text(0x00110020, "LO", "OTHER") },
		"out of order":               func(b *dicomtest.Builder) { b.Text(0x00100040, "CS", "O").Text(0x00100020, "LO", "ID") },
	} {
		var b dicomtest.Builder
		build(&b)
		r, err := scan(t, dicomtest.ExplicitLE, b.Bytes(), 3)
		if err != nil || r.DataSet.String(0x00100020) != "ID" {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

// A UID of several values is none: it must not pass as the first of them.
func TestSeveralUIDsAreNone(t *testing.T) {
	var b dicomtest.Builder
	b.Text(0x0020000D, "UI", `1.2.3\1.2.4`)
	r, err := scan(t, dicomtest.ExplicitLE, b.Bytes(), 100)
	if err != nil || storage.ValidUID(r.StudyInstanceUID) {
		t.Errorf("%+v, %v", r, err)
	}
}

// However much stands before it, the PatientID is kept.
func TestPatientIDIsKeptWhenMemoryIsFull(t *testing.T) {
	var b dicomtest.Builder
	for i := range 20 {
		b.Text(0x00081000+uint32(i), "LO", strings.Repeat("x", 60<<10))
	}
	b.Text(0x00100020, "LO", "ID")
	r, err := scan(t, dicomtest.ExplicitLE, b.Bytes(), 1<<20)
	if err != nil || !r.Overflow || r.DataSet.String(0x00100020) != "ID" {
		t.Errorf("%v, overflow %v, PatientID %q", err, r != nil && r.Overflow, r.DataSet.String(0x00100020))
	}
}

func TestTwoTransferSyntaxesAreRefused(t *testing.T) {
	for second, refused := range map[string]bool{dicomtest.ExplicitLE: false, dicomtest.ImplicitLE: true} {
		file := dicomtest.FileMeta(dicomtest.CTImage, "1.2.3", dicomtest.ExplicitLE)
		var b dicomtest.Builder
		file = append(file, b.Text(0x00020010, "UI", second).Bytes()...)
		_, err := dicom.ReadPart10(bufio.NewReader(bytes.NewReader(file)))
		if errors.Is(err, storage.ErrInvalid) != refused {
			t.Error(fmt.Sprintf("%s behind %s:", second, dicomtest.ExplicitLE), err)
		}
	}
}
