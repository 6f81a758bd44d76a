package dicom

import (
	"fmt"
	"strconv"
	"sync"

	"github.com/suyashkumar/dicom/pkg/tag"

	"github.com/esante-alsace/cigogne/storage"
)

// Tags that this package itself has to know by name.
const (
	tagGroupLengthMask      Tag = 0x0000FFFF
	tagSpecificCharacterSet Tag = 0x00080005
	tagSOPClassUID          Tag = 0x00080016
	tagSOPInstanceUID       Tag = 0x00080018
	tagPatientName          Tag = 0x00100010
	tagPatientID            Tag = 0x00100020
	tagIssuerOfPatientID    Tag = 0x00100021
	tagPatientBirthDate     Tag = 0x00100030
	tagStudyInstanceUID     Tag = 0x0020000D
	tagSeriesInstanceUID    Tag = 0x0020000E
	tagSamplesPerPixel      Tag = 0x00280002
	tagPhotometric          Tag = 0x00280004
	tagNumberOfFrames       Tag = 0x00280008
	tagRows                 Tag = 0x00280010
	tagColumns              Tag = 0x00280011
	tagBitsAllocated        Tag = 0x00280100
	tagPixelRepresentation  Tag = 0x00280103
	tagExtendedOffsetTable  Tag = 0x7FE00001
	tagFloatPixelData       Tag = 0x7FE00008
	tagDoubleFloatPixelData Tag = 0x7FE00009
	tagPixelData            Tag = 0x7FE00010
	tagTrailingPadding      Tag = 0xFFFCFFFC
	tagItem                 Tag = 0xFFFEE000
	tagItemDelimitation     Tag = 0xFFFEE00D
	tagSequenceDelimitation Tag = 0xFFFEE0DD
)

// Group is the group number, the upper half of the tag.
func (t Tag) Group() uint16 { return uint16(t >> 16) }

// Private tells whether the group is odd (PS3.5 §7.8).
func (t Tag) Private() bool { return t.Group()&1 == 1 }

// String is the tag as eight upper-case hexadecimal digits, its name in
// DICOM JSON.
func (t Tag) String() string { return string(t.append(nil)) }

func (t Tag) append(dst []byte) []byte {
	const digits = "0123456789ABCDEF"
	for shift := 28; shift >= 0; shift -= 4 {
		dst = append(dst, digits[t>>shift&0xF])
	}
	return dst
}

// Keyword is the attribute's keyword in PS3.6, and "" for a private or
// unknown attribute and for a repeating group other than the first.
func (t Tag) Keyword() string {
	info, err := tag.Find(t.library())
	if err != nil {
		return ""
	}
	return info.Keyword
}

// VR is the VR that PS3.6 gives the attribute; of several it is the one that
// Implicit VR implies (PS3.5 §A.1): OW of 'OB or OW' and of 'US or OW', US of
// 'US or SS'. It is LO for a Private Creator and UN for what is unknown.
func (t Tag) VR() VR { return t.vr(false) }

// vr is VR for a Data Set whose PixelRepresentation is known: signed chooses
// SS of 'US or SS'.
func (t Tag) vr(signed bool) VR {
	if t.Private() {
		if element := t & 0xFFFF; element >= 0x10 && element <= 0xFF {
			return "LO"
		}
		return "UN"
	}
	info, err := tag.Find(t.dictionary().library())
	if err != nil || len(info.VRs) == 0 {
		return "UN"
	}
	if len(info.VRs) == 1 {
		return VR(info.VRs[0])
	}
	return chooseVR(info.VRs, signed)
}

func chooseVR(choice []string, signed bool) VR {
	var ss bool
	for _, vr := range choice {
		switch vr {
		case "OW":
			return "OW"
		case "SS":
			ss = true
		}
	}
	if ss && signed {
		return "SS"
	}
	return VR(choice[0])
}

// dictionary is the tag under which PS3.6 lists the attribute: the first of a
// repeating group (PS3.5 §7.6).
func (t Tag) dictionary() Tag {
	switch group := t >> 24; {
	case (group == 0x50 || group == 0x60) && t>>16&0xFF <= 0x1E:
		return t &^ 0x00FF0000
	case t>>16 == 0x0020 && t>>8&0xFF == 0x31: // SourceImageIDs
		return 0x00203100
	}
	return t
}

func (t Tag) library() tag.Tag {
	return tag.Tag{Group: t.Group(), Element: uint16(t)}
}

// ParseTag understands an attribute as DICOMweb names it (PS3.18 §8.3.4.1):
// by its keyword or by eight hexadecimal digits. Other text is an error that
// wraps storage.ErrInvalid.
func ParseTag(s string) (Tag, error) {
	if len(s) == 8 {
		if n, err := strconv.ParseUint(s, 16, 32); err == nil {
			return Tag(n), nil
		}
	}
	if t, ok := tagOfKeyword(s); ok {
		return t, nil
	}
	return 0, fmt.Errorf("%w: %q is neither a keyword of PS3.6 nor a tag", storage.ErrInvalid, clip(s))
}

// keywords remembers what tagOfKeyword found: the library looks keywords up by
// walking its whole dictionary, which takes some 50 µs. Only keywords that
// exist are remembered, so it cannot outgrow the dictionary.
var keywords sync.Map //nolint:gochecknoglobals // cache of a pure function

func tagOfKeyword(s string) (Tag, bool) {
	if !keywordShaped(s) {
		return 0, false
	}
	if t, ok := keywords.Load(s); ok {
		return t.(Tag), true
	}
	info, err := tag.FindByKeyword(s)
	if err != nil || info.Keyword != s {
		return 0, false
	}
	t := Tag(info.Tag.Uint32())
	keywords.Store(s, t)
	return t, true
}

// keywordShaped spares a walk through the dictionary for what cannot be there.
func keywordShaped(s string) bool {
	if s == "" || len(s) > 64 || s[0] < 'A' || s[0] > 'Z' {
		return false
	}
	for i := range len(s) {
		c := s[i] | 0x20
		if (c < 'a' || c > 'z') && (s[i] < '0' || s[i] > '9') {
			return false
		}
	}
	return true
}

func clip(s string) string {
	const most = 64
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
