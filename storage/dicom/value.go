package dicom

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"slices"
	"strconv"
	"strings"
)

// decodeValues turns the bytes of a value into Element.Values. It takes any
// bytes: what breaks the rules of its VR is kept as text as far as it can be
// read.
func decodeValues(h *header, raw []byte, cs *charset) []string {
	switch h.vr.class() {
	case classNumber:
		return decodeNumbers(h, raw)
	case classAT:
		return decodeTags(h, raw)
	case classBinary, classUnknown, classSQ:
		if len(raw) == 0 {
			return nil
		}
		return []string{base64.StdEncoding.EncodeToString(littleEndian(h, raw))}
	}
	return decodeText(h.vr, raw, cs)
}

func decodeText(vr VR, raw []byte, cs *charset) []string {
	text := decodeString(vr, raw, cs)
	if vr.class() == classText {
		if text = trimRight(text); text == "" {
			return nil
		}
		return []string{text}
	}
	if strings.IndexByte(text, '\\') < 0 {
		if text = trim(vr, text); text == "" {
			return nil
		}
		return []string{text}
	}
	values := strings.Split(text, `\`)
	for i, v := range values {
		values[i] = trim(vr, v)
	}
	return values
}

func decodeString(vr VR, raw []byte, cs *charset) string {
	if !vr.charset() {
		cs = nil
	}
	return cs.decode(raw, vr == "PN")
}

// trim removes the spaces that are not significant in vr (PS3.5 §6.2), and
// NUL, with which some writers pad whatever the VR.
func trim(vr VR, s string) string {
	s = trimRight(s)
	switch vr {
	case "AE", "CS", "DS", "IS", "LO", "SH", "UI":
		return strings.TrimLeft(s, " ")
	case "PN":
		return strings.TrimRight(s, "=") // empty component groups (PS3.5 §6.2.1)
	}
	return s
}

func trimRight(s string) string { return strings.TrimRight(s, " \x00") }

func decodeNumbers(h *header, raw []byte) []string {
	size := h.vr.wordSize()
	n := len(raw) / size
	if n == 0 {
		return nil
	}
	values := make([]string, n)
	var text [32]byte
	for i := range values {
		values[i] = string(appendNumber(text[:0], h, raw[i*size:(i+1)*size]))
	}
	return values
}

func appendNumber(dst []byte, h *header, word []byte) []byte {
	u := readWord(h.bigEndian, word)
	switch h.vr {
	case "SS":
		return strconv.AppendInt(dst, int64(int16(u)), 10)
	case "SL":
		return strconv.AppendInt(dst, int64(int32(u)), 10)
	case "SV":
		return strconv.AppendInt(dst, int64(u), 10)
	case "FL":
		return appendFloat(dst, float64(math.Float32frombits(uint32(u))), 32)
	case "FD":
		return appendFloat(dst, math.Float64frombits(u), 64)
	}
	return strconv.AppendUint(dst, u, 10)
}

func appendFloat(dst []byte, f float64, bits int) []byte {
	switch { // as PS3.18 §F.2.3.1 spells them
	case math.IsInf(f, 1):
		return append(dst, "inf"...)
	case math.IsInf(f, -1):
		return append(dst, "-inf"...)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, bits)
}

func readWord(bigEndian bool, word []byte) uint64 {
	var order binary.ByteOrder = binary.LittleEndian
	if bigEndian {
		order = binary.BigEndian
	}
	switch len(word) {
	case 2:
		return uint64(order.Uint16(word))
	case 4:
		return uint64(order.Uint32(word))
	}
	return order.Uint64(word)
}

func decodeTags(h *header, raw []byte) []string {
	if len(raw) < 4 {
		return nil
	}
	values := make([]string, 0, len(raw)/4)
	for ; len(raw) >= 4; raw = raw[4:] {
		group, element := readWord(h.bigEndian, raw[:2]), readWord(h.bigEndian, raw[2:4])
		values = append(values, Tag(group<<16|element).String())
	}
	return values
}

// littleEndian is raw as DICOM JSON has it: always Little Endian.
func littleEndian(h *header, raw []byte) []byte {
	size := h.vr.wordSize()
	if !h.bigEndian || size == 1 {
		return raw
	}
	out := slices.Clone(raw)
	for word := range slices.Chunk(out[:len(out)/size*size], size) {
		slices.Reverse(word)
	}
	return out
}
