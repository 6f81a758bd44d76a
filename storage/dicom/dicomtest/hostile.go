package dicomtest

import (
	"bytes"
	"compress/flate"
	"io"
)

// Identity begins a Data Set with the attributes that name an instance, which
// may be what no UID should be, such as "../../x".
func Identity(b *Builder, sopClassUID, sopInstanceUID, studyInstanceUID, seriesInstanceUID string) *Builder {
	b.Text(0x00080016, "UI", sopClassUID).Text(0x00080018, "UI", sopInstanceUID)
	b.Text(0x00100010, "PN", "Hostile^Test").Text(0x00100020, "LO", "HOSTILE")
	return b.Text(0x0020000D, "UI", studyInstanceUID).Text(0x0020000E, "UI", seriesInstanceUID)
}

// hostile is a Data Set in Explicit VR Little Endian that is legal so far.
func hostile() *Builder {
	return Identity(&Builder{}, CTImage, "2.25.3", "2.25.1", "2.25.2")
}

// nestedSequence is ConceptNameCodeSequence, which may hold itself here.
const nestedSequence = 0x0040A730

// NestedUndefined is a Data Set in Explicit VR Little Endian with sequences of
// undefined length nested to the depth.
func NestedUndefined(depth int) []byte {
	b := hostile()
	for range depth {
		b.Header(nestedSequence, "SQ", Undefined).Header(item0, "", Undefined)
	}
	for range depth {
		b.Header(itemEnd, "", 0).Header(sequenceEnd, "", 0)
	}
	return b.b
}

// NestedDefined is the same in defined lengths.
func NestedDefined(depth int) []byte {
	const sequenceHeader, itemHeader = 12, 8
	b := hostile()
	for level := depth; level > 0; level-- {
		inside := uint32((level - 1) * (sequenceHeader + itemHeader))
		b.Header(nestedSequence, "SQ", inside+itemHeader).Header(item0, "", inside)
	}
	return b.b
}

// Lies are Data Sets in Explicit VR Little Endian that no reader may accept,
// by what is wrong with them.
func Lies() map[string][]byte {
	return map[string][]byte{
		"element of 4 GiB": hostile().Header(0x00420011, "OB", 0xFFFFFFF0).Raw(1, 2, 3, 4).b,
		"text of 4 GiB":    hostile().Header(0x0040A160, "UT", 0xFFFFFFFE).Raw('x', 'y').b,
		"item beyond its sequence": hostile().Header(nestedSequence, "SQ", 16).
			Header(item0, "", 200).Text(0x00080100, "SH", "CODE").Text(0x00080102, "SH", "DCM ").b,
		"element beyond its item": hostile().Header(nestedSequence, "SQ", 20).
			Header(item0, "", 12).Header(0x00080100, "SH", 400).Raw('C', 'O', 'D', 'E').Text(0x00400244, "DA", "20250101").b,
		"fragment beyond the end": hostile().Header(PixelData, "OB", Undefined).
			Header(item0, "", 0).Header(item0, "", 1<<30).Raw(1, 2).b,
		"fragments without an end": hostile().Header(PixelData, "OB", Undefined).
			Header(item0, "", 0).Header(item0, "", 2).Raw(1, 2).b,
		"fragment of undefined length": hostile().Header(PixelData, "OB", Undefined).
			Header(item0, "", Undefined).Header(sequenceEnd, "", 0).b,
		"sequence without an end":  hostile().Header(nestedSequence, "SQ", Undefined).Header(item0, "", Undefined).b,
		"delimiter out of nowhere": hostile().Header(itemEnd, "", 0).b,
		"cut in a header":          append(hostile().b, 0x28, 0, 0x10),
		"cut in a value":           hostile().Header(0x00280010, "US", 2).Raw(1).b,
	}
}

// Bomb is a deflated Data Set that grows to about the given length, at some
// thousand times its own.
func Bomb(inflated int64) ([]byte, error) {
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(hostile().Header(PixelData, "OW", uint32(min(inflated, 0xFFFFFFFE))).b); err != nil {
		return nil, err
	}
	if _, err := io.CopyN(w, zeros{}, inflated); err != nil {
		return nil, err
	}
	err = w.Close()
	return out.Bytes(), err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
