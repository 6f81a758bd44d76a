package index

import (
	"cmp"
	"slices"
	"strings"

	"github.com/esante-alsace/cigogne/storage/dicom"
)

// value is the first value of the attribute without the spaces around it, or
// "".
func value(ds dicom.DataSet, tag dicom.Tag) string {
	e := find(ds, tag)
	if e == nil || len(e.Values) == 0 {
		return ""
	}
	return strings.Trim(e.Values[0], " \x00")
}

// whole is the value of an attribute that has one, whatever stands in it: a
// PatientID with a backslash is another's than its first part.
func whole(ds dicom.DataSet, tag dicom.Tag) string {
	e := find(ds, tag)
	if e == nil {
		return ""
	}
	return strings.Trim(strings.Join(e.Values, `\`), " \x00")
}

// namesPatient tells the attributes by which patients are told apart.
func namesPatient(t dicom.Tag) bool { return t == tagPatientID || t == tagIssuerOfPatientID }

// blank tells whether the element says nothing.
func blank(e *dicom.Element) bool {
	if len(e.Items) > 0 {
		return false
	}
	for _, v := range e.Values {
		if strings.Trim(v, " \x00") != "" {
			return false
		}
	}
	return true
}

// bounded is the instance with Attributes that can be kept.
func (i *Instance) bounded() *Instance {
	in := *i // the batch belongs to the caller
	in.Attributes = bound(in.Attributes)
	return &in
}

// bound returns ds as it can be kept: sorted, without doubles, without
// elements of more than 8 KiB and without those that come when AttributeBytes
// are full; what names the patient comes first. It is ds itself in nearly every case. An instance is never refused
// for its attributes: they are there to find it by.
func bound(ds dicom.DataSet) dicom.DataSet {
	left := AttributeBytes
	if bounded(ds, attributeDepth, &left) {
		return ds
	}
	sorted := slices.Clone(ds)
	slices.SortStableFunc(sorted, func(a, b dicom.Element) int { return cmp.Compare(a.Tag, b.Tag) })
	out := make(dicom.DataSet, 0, len(sorted))
	left = AttributeBytes
	for _, patient := range []bool{true, false} {
		for _, e := range sorted {
			if namesPatient(e.Tag) != patient || len(out) > 0 && out[len(out)-1].Tag == e.Tag {
				continue
			}
			one := min(maxElementBytes, left)
			before := one
			if bounded(dicom.DataSet{e}, attributeDepth, &one) {
				out = append(out, e)
				left -= before - one
			}
		}
	}
	slices.SortFunc(out, func(a, b dicom.Element) int { return cmp.Compare(a.Tag, b.Tag) })
	return out
}

// maxElementBytes is the most that one attribute of many may take.
const maxElementBytes = 8 << 10
