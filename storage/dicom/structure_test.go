package dicom_test

import (
	"testing"

	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

const sequence, code = 0x00081140, 0x00080100

// The ways of writing that are not the usual one and yet are read; see
// DESIGN.md.
func TestUnusualStructure(t *testing.T) {
	implicitItem := func(b *dicomtest.Builder) *dicomtest.Builder {
		in := &dicomtest.Builder{Implicit: true}
		in.OpenSequence(sequence, func(in *dicomtest.Builder) { in.Text(code, "SH", "CODE") })
		return b.Raw(in.Bytes()[8:]...) // without the header of the sequence
	}
	un := implicitItem(new(dicomtest.Builder).Header(0x00091002, "UN", dicomtest.Undefined))
	unBig := implicitItem((&dicomtest.Builder{Big: true}).Header(0x00091002, "UN", dicomtest.Undefined))
	for _, c := range []struct {
		name, ts string
		dataSet  []byte
		json     string
	}{
		{"UN of undefined length is a sequence in Implicit VR", dicomtest.ExplicitLE, un.Bytes(), `{"00091002":{"vr":"SQ","Value":[{"00080100":{"vr":"SH","Value":["CODE"]}}]}}`},
		{"in Big Endian, too", dicomtest.ExplicitBE, unBig.Bytes(), `{"00091002":{"vr":"SQ","Value":[{"00080100":{"vr":"SH","Value":["CODE"]}}]}}`},
		{"private UN of defined length stays", dicomtest.ExplicitLE, new(dicomtest.Builder).Binary(0x00091002, "UN", []byte("ab")).Bytes(), `{"00091002":{"vr":"UN","InlineBinary":"YWI="}}`},
		{"a standard UN gets its VR back", dicomtest.ExplicitLE, new(dicomtest.Builder).Binary(0x00100020, "UN", []byte("ID")).Bytes(), `{"00100020":{"vr":"LO","Value":["ID"]}}`},
		{"a VR that is not defined yet", dicomtest.ExplicitLE, new(dicomtest.Builder).Raw(9, 0, 2, 0x10, 'Z', 'Z', 0, 0, 2, 0, 0, 0, 'a', 'b').Bytes(), `{"00091002":{"vr":"UN","InlineBinary":"YWI="}}`},
		{"a VR of spaces", dicomtest.ExplicitLE, new(dicomtest.Builder).Raw(9, 0, 2, 0x10, ' ', ' ', 2, 0, 'a', 'b').Bytes(), `{"00091002":{"vr":"UN","InlineBinary":"YWI="}}`},
		{"group lengths and padding are left out", dicomtest.ExplicitLE, new(dicomtest.Builder).UL(0x00080000, 9).Text(0x00080060, "CS", "CT").Binary(0xFFFCFFFC, "OB", make([]byte, 9)).Bytes(), `{"00080060":{"vr":"CS","Value":["CT"]}}`},
		{"out of order, and twice", dicomtest.ExplicitLE, new(dicomtest.Builder).Text(0x00100020, "LO", "B").Text(0x00080060, "CS", "CT").Text(0x00080060, "CS", "MR").Bytes(), `{"00080060":{"vr":"CS","Value":["CT"]},"00100020":{"vr":"LO","Value":["B"]}}`},
		{"odd length", dicomtest.ExplicitLE, new(dicomtest.Builder).Header(0x00080060, "CS", 3).Raw('C', 'T', '1').Text(0x00100020, "LO", "B").Bytes(), `{"00080060":{"vr":"CS","Value":["CT1"]},"00100020":{"vr":"LO","Value":["B"]}}`},
		{"empty", dicomtest.ExplicitLE, new(dicomtest.Builder).Sequence(sequence).OpenSequence(0x00081115).OpenSequence(0x0008113A, func(*dicomtest.Builder) {}).Text(0x00100020, "LO", "").Bytes(), `{"00081115":{"vr":"SQ"},"0008113A":{"vr":"SQ","Value":[{}]},"00081140":{"vr":"SQ"},"00100020":{"vr":"LO"}}`},
		{"Big Endian numbers and words", dicomtest.ExplicitBE, (&dicomtest.Builder{Big: true}).US(0x00280010, 513).Binary(0x00291001, "OW", []byte{1, 2}).FD(0x00291002, 0.5).Bytes(), `{"00280010":{"vr":"US","Value":[513]},"00291001":{"vr":"OW","InlineBinary":"AgE="},"00291002":{"vr":"FD","Value":[0.5]}}`},
		{"Implicit VR by the dictionary", dicomtest.ImplicitLE, (&dicomtest.Builder{Implicit: true}).US(0x00280103, 1).US(0x00280106, 0xFFFF).Sequence(sequence, func(in *dicomtest.Builder) { in.Text(code, "", "C") }).Bytes(), `{"00081140":{"vr":"SQ","Value":[{"00080100":{"vr":"SH","Value":["C"]}}]},"00280103":{"vr":"US","Value":[1]},"00280106":{"vr":"SS","Value":[-1]}}`},
		{"native pixels in an encapsulated transfer syntax", dicomtest.JPEG, new(dicomtest.Builder).Binary(dicomtest.PixelData, "OW", []byte{1, 2}).Bytes(), `{"7FE00010":{"vr":"OW","BulkDataURI":"bulkdata/7FE00010"}}`},
		{"fragments in a native transfer syntax", dicomtest.ExplicitLE, new(dicomtest.Builder).Encapsulated(nil, []byte{1, 2}).Bytes(), `{"7FE00010":{"vr":"OB","BulkDataURI":"bulkdata/7FE00010"}}`},
		{"nothing", dicomtest.ExplicitLE, nil, `{}`},
	} {
		for _, chunk := range []int{1, 1 << 20} {
			r, err := scan(t, c.ts, c.dataSet, chunk)
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			if got := string(r.DataSet.AppendJSON(nil)); got != c.json {
				t.Errorf("%s:\n%s\nwant\n%s", c.name, got, c.json)
			}
		}
	}
}
