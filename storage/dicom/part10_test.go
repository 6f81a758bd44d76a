package dicom_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

func TestReadPart10(t *testing.T) {
	i := dicomtest.NewStudy(dicomtest.Options{Modality: "CR"}).Instances[0]
	meta := dicom.FileMeta{SOPClassUID: i.SOPClassUID, SOPInstanceUID: i.SOPInstanceUID, TransferSyntaxUID: i.TransferSyntaxUID, SourceAETitle: "HAGUENAU"}
	whole := dicom.AppendFileMeta(nil, meta)
	wrongLength := bytes.Clone(whole)
	wrongLength[140] = 0xEE
	implicit := dicomtest.NewStudy(dicomtest.Options{Modality: "CR", TransferSyntaxUID: dicomtest.ImplicitLE}).Instances[0]
	big := dicomtest.NewStudy(dicomtest.Options{Modality: "CR", TransferSyntaxUID: dicomtest.ExplicitBE}).Instances[0]
	for _, c := range []struct {
		name    string
		prefix  []byte
		dataSet []byte
		ts      string
		guessed bool
	}{
		{"as PS3.10 wants it", whole, i.DataSet(), dicomtest.ExplicitLE, false},
		{"wrong group length", wrongLength, i.DataSet(), dicomtest.ExplicitLE, false},
		{"no group length", append(bytes.Clone(whole[:132]), whole[144:]...), i.DataSet(), dicomtest.ExplicitLE, false},
		{"no preamble", whole[132:], i.DataSet(), dicomtest.ExplicitLE, false},
		{"DICM without a preamble", whole[128:], i.DataSet(), dicomtest.ExplicitLE, false},
		{"bare explicit", nil, i.DataSet(), dicomtest.ExplicitLE, true},
		{"bare implicit", nil, implicit.DataSet(), dicomtest.ImplicitLE, true},
		{"bare big endian", nil, big.DataSet(), dicomtest.ExplicitBE, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := bufio.NewReader(iotest.OneByteReader(bytes.NewReader(append(bytes.Clone(c.prefix), c.dataSet...))))
			p, err := dicom.ReadPart10(r)
			if err != nil {
				t.Fatal(err)
			}
			rest, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(p.Prefix, c.prefix) || !bytes.Equal(rest, c.dataSet) {
				t.Errorf("prefix of %d bytes, Data Set of %d, %v", len(p.Prefix), len(rest), err)
			}
			if p.Meta.TransferSyntaxUID != c.ts || p.Guessed != c.guessed {
				t.Errorf("transfer syntax %s, guessed %v", p.Meta.TransferSyntaxUID, p.Guessed)
			}
			if !c.guessed && (p.Meta.SOPInstanceUID != meta.SOPInstanceUID || p.Meta.SourceAETitle != "HAGUENAU" || p.Meta.ImplementationVersionName != "CIGOGNE_1") {
				t.Errorf("meta %+v", p.Meta)
			}
		})
	}
}

func TestReadPart10Refuses(t *testing.T) {
	huge := dicom.AppendFileMeta(nil, dicom.FileMeta{})
	for range 100 {
		huge = append(append(huge, 2, 0, 2, 1, 'L', 'T', 0, 16), make([]byte, 4096)...)
	}
	var liar dicomtest.Builder
	liar.Raw(make([]byte, 128)...).Raw([]byte("DICM")...).Header(0x00020102, "OB", 0xFFFFFFF0)
	for name, file := range map[string][]byte{
		"nothing": nil, "text": []byte("<html>This is not DICOM, whoever says so."),
		"too long": huge, "4 GiB element": liar.Bytes(), "cut": dicom.AppendFileMeta(nil, dicom.FileMeta{TransferSyntaxUID: "1.2"})[:150],
		"no Data Set and no transfer syntax": dicom.AppendFileMeta(nil, dicom.FileMeta{}),
	} {
		if _, err := dicom.ReadPart10(bufio.NewReader(bytes.NewReader(file))); !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	broken := errors.New("the line is cut")
	if _, err := dicom.ReadPart10(bufio.NewReader(iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("an error of the reader came back as %v", err)
	}
}
