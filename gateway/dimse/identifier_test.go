package dimse

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// askForName is an Identifier at the STUDY level, its name in Latin-1.
func askForName(b *dicomtest.Builder) *dicomtest.Builder {
	return b.Text(0x00080005, "CS", "ISO_IR 100").Text(0x00080052, "CS", "STUDY").Text(0x00100010, "PN", "M\xfcller*")
}

// TestIdentifier: what is read is what was asked for, in UTF-8, and what is
// beyond the bounds is told from what is not well-formed.
func TestIdentifier(t *testing.T) {
	uids := strings.TrimSuffix(strings.Repeat("1.2.840.10008.5.1.4.1.1.2.100000000000000000000000000000000.1\\", 20_000), `\`)
	deep := func(b *dicomtest.Builder) { b.Text(0x00080060, "CS", "CT") }
	for range 20 {
		inner := deep
		deep = func(b *dicomtest.Builder) { b.Sequence(0x00400275, inner) }
	}
	for _, c := range []struct {
		name   string
		ds     []byte
		syntax string
		want   error
	}{
		{"explicit", askForName(&dicomtest.Builder{}).Bytes(), ExplicitVRLittleEndian, nil},
		{"implicit", askForName(&dicomtest.Builder{Implicit: true}).Bytes(), ImplicitVRLittleEndian, nil},
		{"20,000 UIDs", askForName(&dicomtest.Builder{Implicit: true}).Text(0x0020000D, "UI", uids).Bytes(), ImplicitVRLittleEndian, nil},
		{"cut", askForName(&dicomtest.Builder{}).Bytes()[:30], ExplicitVRLittleEndian, storage.ErrInvalid},
		{"too deep", (&dicomtest.Builder{}).Sequence(0x00400275, deep).Bytes(), ExplicitVRLittleEndian, storage.ErrInvalid},
		{"10,000 deep", dicomtest.NestedUndefined(10_000), ExplicitVRLittleEndian, storage.ErrInvalid},
		{"10,000 deep, with lengths", dicomtest.NestedDefined(10_000), ExplicitVRLittleEndian, storage.ErrInvalid},
		{"too long", askForName(&dicomtest.Builder{Implicit: true}).Text(0x0020000D, "UI", uids+uids).Bytes(), ImplicitVRLittleEndian, storage.ErrTooLarge},
		{"too many values", (&dicomtest.Builder{Implicit: true}).Text(0x0020000D, "UI", strings.Repeat(`\`, 70_000)).Bytes(), ImplicitVRLittleEndian, storage.ErrTooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, err := readIdentifier(bytes.NewReader(c.ds), c.syntax, deadline(time.Minute))
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if err == nil && (id.level != "STUDY" || id.keys.String(0x00100010) != "Müller*") {
				t.Errorf("read %+v", id)
			}
			if found, err := id.uids(tagStudyInstanceUID); c.name == "20,000 UIDs" && (err != nil || len(found) != 20_000) {
				t.Errorf("%d UIDs, %v", len(found), err)
			}
		})
	}
	broken := errors.New("lost")
	if _, err := readIdentifier(io.MultiReader(strings.NewReader("\x08\x00"), iotest.ErrReader(broken)), ImplicitVRLittleEndian, deadline(time.Minute)); !errors.Is(err, broken) {
		t.Errorf("a body that breaks: %v", err)
	}
}

// FuzzIdentifier: nothing that a peer sends is more than refused, and what is
// asked for can be answered.
func FuzzIdentifier(f *testing.F) {
	f.Add(askForName(&dicomtest.Builder{}).Bytes(), false)
	f.Add(askForName(&dicomtest.Builder{Implicit: true}).Bytes(), true)
	f.Add((&dicomtest.Builder{}).Text(0x00080052, "CS", "IMAGE").Text(0x00080018, "UI", `1.2\1.3`).Sequence(0x00400275, func(b *dicomtest.Builder) {
		b.Text(0x00401001, "SH", "RP1").Sequence(0x00400008, func(b *dicomtest.Builder) { b.Text(0x00080100, "SH", "") })
	}).Bytes(), false)
	f.Fuzz(func(t *testing.T, ds []byte, implicit bool) {
		syntax := ExplicitVRLittleEndian
		if implicit {
			syntax = ImplicitVRLittleEndian
		}
		id, err := readIdentifier(bytes.NewReader(ds), syntax, deadline(time.Minute))
		if err != nil {
			if !errors.Is(err, storage.ErrInvalid) && !errors.Is(err, storage.ErrTooLarge) {
				t.Fatal(err)
			}
			return
		}
		o := &operation{association: &association{server: &Server{cfg: Config{AETitle: "CIGOGNE"}}}, context: presentation{abstractSyntax: StudyRootFind}, identifier: id}
		o.context.options.relational = true
		q, err := o.question(10)
		if err != nil {
			return
		}
		answer, err := appendIdentifier(nil, o.match(q, id.keys), syntax)
		if err != nil {
			t.Fatalf("%+v: %v", o.match(q, id.keys), err)
		}
		again, err := readIdentifier(bytes.NewReader(answer), syntax, deadline(time.Minute))
		if err != nil || again.level != id.level {
			t.Fatalf("%+v, %v", again, err)
		}
	})
}

// TestAnswerIsReadAgain: what is answered is what was found, in both syntaxes.
func TestAnswerIsReadAgain(t *testing.T) {
	ds := dicom.DataSet{{Tag: 0x00100010, VR: "PN", Values: []string{strings.Repeat("Müller", 40)}}}
	for _, syntax := range []string{ExplicitVRLittleEndian, ImplicitVRLittleEndian} {
		whole, err := appendIdentifier(nil, ds, syntax)
		if err != nil {
			t.Fatal(err)
		}
		id, err := readIdentifier(bytes.NewReader(whole), syntax, deadline(time.Minute))
		if err != nil || !reflect.DeepEqual(id.keys, ds) {
			t.Errorf("read %+v, %v", id.keys, err)
		}
	}
}
