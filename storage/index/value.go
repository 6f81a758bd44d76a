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
// are full. It is ds itself in nearly every case. An instance is never refused
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
	for _, e := range sorted {
		if len(out) > 0 && out[len(out)-1].Tag == e.Tag {
			continue
		}
		one := min(maxElementBytes, left)
		before := one
		if bounded(dicom.DataSet{e}, attributeDepth, &one) {
			out = append(out, e)
			left -= before - one
		}
	}
	return out
}

// maxElementBytes is the most that one attribute of many may take.
const maxElementBytes = 8 << 10
