// Package storage holds the nouns that every store shares: what an instance
// is called, what identifies its bytes, a range of them, and the errors that
// the transports translate once into a DIMSE status or an HTTP code.
package storage

import "fmt"

// InstanceKey names an instance in the information model (PS3.3 §A.1.2).
type InstanceKey struct {
	StudyInstanceUID  string
	SeriesInstanceUID string
	SOPInstanceUID    string
}

// String is the key as a path, for logs and error texts.
func (k InstanceKey) String() string {
	return k.StudyInstanceUID + "/" + k.SeriesInstanceUID + "/" + k.SOPInstanceUID
}

// Validate returns nil, or an error that wraps ErrInvalid and names the UID
// that breaks PS3.5 §9.1. A valid key is safe as a path and as an object key.
func (k InstanceKey) Validate() error {
	for _, u := range []struct{ keyword, uid string }{
		{"StudyInstanceUID", k.StudyInstanceUID},
		{"SeriesInstanceUID", k.SeriesInstanceUID},
		{"SOPInstanceUID", k.SOPInstanceUID},
	} {
		if !ValidUID(u.uid) {
			return fmt.Errorf("%w: %s %q is not a UID", ErrInvalid, u.keyword, clip(u.uid))
		}
	}
	return nil
}

// ValidUID tells whether uid is 1 to 64 characters of digits in components
// parted by single dots. Leading zeros, which PS3.5 §9.1 forbids, are let
// through: real devices send them and they harm nothing here.
func ValidUID(uid string) bool {
	if len(uid) == 0 || len(uid) > 64 {
		return false
	}
	dot := true // a component must begin with a digit
	for i := range len(uid) {
		switch c := uid[i]; {
		case c >= '0' && c <= '9':
			dot = false
		case c == '.' && !dot:
			dot = true
		default:
			return false
		}
	}
	return !dot
}

func clip(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// Range is a part of something stored: Length bytes from Offset.
type Range struct {
	Offset int64
	Length int64
}

// End is the offset after the last byte of the range.
func (r Range) End() int64 { return r.Offset + r.Length }

// Within tells whether the range lies inside something of the given size;
// it is false for negative numbers and cannot be fooled by an overflow.
func (r Range) Within(size int64) bool {
	return r.Offset >= 0 && r.Length >= 0 && r.Offset <= size && r.Length <= size-r.Offset
}

// Sub is the part sub of r, in the coordinates in which r is given.
func (r Range) Sub(sub Range) Range {
	return Range{Offset: r.Offset + sub.Offset, Length: sub.Length}
}
