package dicom

import (
	"encoding/binary"
	"strings"
)

// What this implementation calls itself in File Meta Information and in
// association negotiation (PS3.7 §D.3.3.2).
const (
	// ImplementationClassUID is derived from a UUID (PS3.5 §B.2).
	ImplementationClassUID    = "2.25.2291450795614206212733612087165104850"
	ImplementationVersionName = "CIGOGNE_1"
)

// FileMeta is the part of File Meta Information that matters here (PS3.10
// §7.1).
type FileMeta struct {
	SOPClassUID               string // MediaStorageSOPClassUID
	SOPInstanceUID            string // MediaStorageSOPInstanceUID
	TransferSyntaxUID         string
	ImplementationClassUID    string
	ImplementationVersionName string
	SourceAETitle             string // SourceApplicationEntityTitle
}

// AppendFileMeta appends a preamble of NULs, "DICM" and File Meta Information.
// The implementation is this one where m names none; a SourceAETitle that is
// empty, or no AE (PS3.5 §6.2), is left out. UIDs longer than 64 bytes and titles longer than 16 are cut, so
// that the result always has the form that PS3.10 wants.
func AppendFileMeta(dst []byte, m FileMeta) []byte {
	if m.ImplementationClassUID == "" {
		m.ImplementationClassUID = ImplementationClassUID
		m.ImplementationVersionName = ImplementationVersionName
	}
	if strings.ContainsFunc(m.SourceAETitle, func(r rune) bool { return r < ' ' || r > '~' }) {
		m.SourceAETitle = ""
	}
	dst = append(dst, make([]byte, preambleLength)...)
	dst = append(dst, magic...)
	dst = append(dst, 2, 0, 0, 0, 'U', 'L', 4, 0, 0, 0, 0, 0)
	start := len(dst)
	dst = append(dst, 2, 0, 1, 0, 'O', 'B', 0, 0, 2, 0, 0, 0, 0, 1)
	for _, e := range []struct {
		element byte
		vr      string
		value   string
		most    int
	}{
		{0x02, "UI", m.SOPClassUID, 64},
		{0x03, "UI", m.SOPInstanceUID, 64},
		{0x10, "UI", m.TransferSyntaxUID, 64},
		{0x12, "UI", m.ImplementationClassUID, 64},
		{0x13, "SH", m.ImplementationVersionName, 16},
		{0x16, "AE", m.SourceAETitle, 16},
	} {
		if e.value != "" || e.vr == "UI" {
			dst = appendMetaText(dst, e.element, e.vr, e.value[:min(len(e.value), e.most)])
		}
	}
	binary.LittleEndian.PutUint32(dst[start-4:], uint32(len(dst)-start))
	return dst
}

func appendMetaText(dst []byte, element byte, vr, value string) []byte {
	length := len(value) + len(value)&1
	dst = append(dst, 2, 0, element, 0, vr[0], vr[1], byte(length), byte(length>>8))
	dst = append(dst, value...)
	if length > len(value) {
		pad := byte(' ')
		if vr == "UI" {
			pad = 0
		}
		dst = append(dst, pad)
	}
	return dst
}
