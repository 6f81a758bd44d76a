package dicom

import (
	"fmt"
	"strings"

	"github.com/esante-alsace/cigogne/storage"
)

// identifying tells the attributes that say whose a Data Set is and which one,
// and how these are to be read. Where readers may differ about one of them, an
// instance could be filed under one patient and shown as another's: DCMTK takes
// the first of two elements with one tag, pydicom the last.
func identifying(t Tag) bool {
	switch t {
	case tagSpecificCharacterSet, tagSOPClassUID, tagSOPInstanceUID, tagStudyInstanceUID, tagSeriesInstanceUID,
		tagPatientName, tagPatientID, tagIssuerOfPatientID, tagPatientBirthDate:
		return true
	}
	return false
}

// identity is what the identifying attributes of a Data Set said so far.
type identity struct {
	seen    []identified
	foreign bool // one of them has bytes that a character set explains
}

// identified is what one of them said.
type identified struct {
	tag   Tag
	value string
}

// admit refuses a top-level element that may not be where it is, whatever its
// value is. An identifying one has at most so many bytes.
func (id *identity) admit(h *header, most int) error {
	switch class := h.vr.class(); {
	case h.tag == 0: // the NULs with which some writers fill a block
		return nil
	case h.tag.Group() == 0x0000, h.tag.Group() == 0x0002:
		// Behind the File Meta Information of a stored file, such elements
		// would be read as a part of it.
		return refused(h.tag, "group %04X has no place in a Data Set (PS3.5 §7.1)", h.tag.Group())
	case !identifying(h.tag) || h.length == 0 && class != classSQ:
		return nil
	case class != classStrings && class != classText && class != classPN && class != classDecimal:
		return refused(h.tag, "it cannot have VR %s", h.vr)
	case h.length > int64(most):
		return refused(h.tag, "its value of %d bytes is too long to identify anything", h.length)
	}
	return nil
}

// note takes the value of an identifying element. It tells whether the tag was
// met before; with another value that is an error.
func (id *identity) note(h *header, raw []byte, values []string) (again bool, err error) {
	if h.tag == tagSpecificCharacterSet && id.foreign {
		return false, refused(h.tag, "it comes behind text that it would explain")
	}
	id.foreign = id.foreign || h.tag != tagSpecificCharacterSet && !plain(raw)
	value := strings.Join(values, `\`)
	for _, before := range id.seen {
		switch {
		case before.tag != h.tag:
		case before.value != value:
			return true, refused(h.tag, "it is there twice, with two values")
		default:
			return true, nil
		}
	}
	id.seen = append(id.seen, identified{h.tag, value})
	return false, nil
}

func refused(tag Tag, format string, args ...any) error {
	return fmt.Errorf("%w: element %s: %s", storage.ErrInvalid, tag, fmt.Sprintf(format, args...))
}
