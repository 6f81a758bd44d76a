package dimse

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strconv"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/gateway/commitment"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// requestOf is the action information of a request for instances 1.2.1, 1.2.2, …
func requestOf(b *dicomtest.Builder, n int) []byte {
	items := make([]func(*dicomtest.Builder), n)
	for i := range items {
		items[i] = func(b *dicomtest.Builder) {
			b.Text(0x00081150, "UI", dicomtest.CTImage).Text(0x00081155, "UI", "1.2."+strconv.Itoa(i+1))
		}
	}
	return b.Text(0x00081195, "UI", "1.2.3").Sequence(0x00081199, items...).Bytes()
}

func read(b []byte, transferSyntax string) (commitment.Request, error) {
	return readRequest(bytes.NewReader(b), transferSyntax, time.Now().Add(time.Minute))
}

// TestReadRequest reads requests as they may be written, and refuses others.
func TestReadRequest(t *testing.T) {
	for _, c := range []struct {
		name, transferSyntax string
		b                    *dicomtest.Builder
	}{
		{"explicit", ExplicitVRLittleEndian, &dicomtest.Builder{}},
		{"implicit", ImplicitVRLittleEndian, &dicomtest.Builder{Implicit: true}},
		{"big endian", explicitVRBigEndian, &dicomtest.Builder{Big: true}},
	} {
		rq, err := read(requestOf(c.b, 2), c.transferSyntax)
		want := []commitment.Reference{{SOPClassUID: dicomtest.CTImage, SOPInstanceUID: "1.2.1"}, {SOPClassUID: dicomtest.CTImage, SOPInstanceUID: "1.2.2"}}
		if err != nil || rq.TransactionUID != "1.2.3" || !reflect.DeepEqual(rq.References, want) {
			t.Errorf("%s: %+v, %v", c.name, rq, err)
		}
	}
	whole := requestOf(&dicomtest.Builder{}, 3)
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"nothing", nil, storage.ErrInvalid},
		{"cut", whole[:len(whole)-3], storage.ErrInvalid},
		{"no transaction", whole[14:], storage.ErrInvalid},
		{"no instances", requestOf(&dicomtest.Builder{}, 0), storage.ErrInvalid},
		{"no UID", (&dicomtest.Builder{}).Text(0x00081195, "UI", "1.2.3").Sequence(0x00081199, func(b *dicomtest.Builder) {
			b.Text(0x00081150, "UI", dicomtest.CTImage).Text(0x00081155, "UI", "CT 1")
		}).Bytes(), storage.ErrInvalid},
		{"the most", requestOf(&dicomtest.Builder{}, commitment.References), nil},
		{"too many", requestOf(&dicomtest.Builder{}, commitment.References+1), storage.ErrTooLarge},
		{"far too many", requestOf(&dicomtest.Builder{}, 3*commitment.References), storage.ErrInvalid},
	} {
		if _, err := read(c.b, ExplicitVRLittleEndian); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if _, err := readRequest(bytes.NewReader(whole), ExplicitVRLittleEndian, time.Now()); !errors.Is(err, storage.ErrTooLarge) {
		t.Errorf("one that takes too long: %v", err)
	}
	broken := errors.New("the connection broke")
	if _, err := readRequest(io.MultiReader(bytes.NewReader(whole[:20]), failing{broken}), ExplicitVRLittleEndian, time.Now().Add(time.Minute)); !errors.Is(err, broken) {
		t.Errorf("one that is cut: %v", err)
	}
}

type failing struct{ error }

func (f failing) Read([]byte) (int, error) { return 0, f.error }

// FuzzRequest reads what peers may send for a request. What is taken is within
// the bounds, and the report on it is read as what it says.
func FuzzRequest(f *testing.F) {
	f.Add(requestOf(&dicomtest.Builder{}, 2), false)
	f.Add(requestOf(&dicomtest.Builder{Implicit: true}, 1), true)
	f.Add((&dicomtest.Builder{}).Text(0x00081195, "UI", "1.2").OpenSequence(0x00081199, func(*dicomtest.Builder) {}).Bytes(), false)
	f.Fuzz(func(t *testing.T, b []byte, implicit bool) {
		transferSyntax, encode := ExplicitVRLittleEndian, dicom.AppendExplicit
		if implicit {
			transferSyntax, encode = ImplicitVRLittleEndian, dicom.AppendImplicit
		}
		rq, err := read(b, transferSyntax)
		if err != nil {
			if !errors.Is(err, storage.ErrInvalid) && !errors.Is(err, storage.ErrTooLarge) {
				t.Fatal(err)
			}
			return
		}
		if len(rq.References) == 0 || len(rq.References) > commitment.References {
			t.Fatalf("%d references", len(rq.References))
		}
		report, err := encode(nil, reportDataSet(commitment.Report{
			TransactionUID: rq.TransactionUID, Committed: rq.References,
			Failed: []commitment.Failure{{Reference: rq.References[0], Reason: commitment.NoSuchInstance}},
		}))
		if err != nil {
			t.Fatal(err)
		}
		again, err := read(report, transferSyntax)
		if err != nil || !reflect.DeepEqual(again, rq) {
			t.Fatalf("%+v, then %+v, %v", rq, again, err)
		}
	})
}
