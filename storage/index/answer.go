package index

import (
	"slices"
	"strconv"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

// returned is an attribute of every answer.
type returned struct {
	tag dicom.Tag
	vr  dicom.VR
	// empty: it is returned without a value when there is none.
	empty bool
	// is, when not nil, is what it has in all answers.
	is []string
}

// PackedInstance is an instance as a pack's metadata describes it, with all
// or some of its attributes.
type PackedInstance struct {
	storage.Instance
	Attributes dicom.DataSet
}

// returnSet lists what answers hold: what the level always returns, what the
// levels above always return unless the question is asked under one of their
// resources (PS3.18 §10.6.3.3), what was asked for, what was matched (PS3.4
// §C.4.1.1.3.2), and the UIDs of all levels.
func (m *Matcher) returnSet() []returned {
	asked := make(map[dicom.Tag]bool, len(m.query.Include)+len(m.query.Match))
	for _, t := range m.query.Include {
		asked[t] = true
	}
	for _, c := range m.query.Match {
		if len(c.Path) > 0 {
			asked[c.Path[0]] = true
		}
	}
	set := make([]returned, 0, 32) // as many as are usual
	for _, a := range attributes() {
		if a.level > m.query.Level {
			continue
		}
		always := a.role != kept && m.returnsLevel(a.level) || identifies(a.tag)
		if always || m.query.IncludeAll || asked[a.tag] {
			empty := always && a.role == usual && a.vr != "SQ" && a.tag != tagTransferSyntaxOffered
			set = append(set, returned{a.tag, a.vr, empty, ofAll(a.tag)})
		}
	}
	return set
}

func (m *Matcher) returnsLevel(l Level) bool {
	switch l {
	case m.query.Level:
		return true
	case Study:
		return m.query.StudyInstanceUID == ""
	default:
		return m.query.SeriesInstanceUID == ""
	}
}

// ofAll is what an attribute has in all answers, nil for most.
func ofAll(t dicom.Tag) []string {
	switch t {
	case tagSpecificCharacterSet:
		return []string{"ISO_IR 192"}
	case tagInstanceAvailability:
		return []string{"ONLINE"}
	}
	return nil
}

func identifies(t dicom.Tag) bool {
	switch t {
	case tagSpecificCharacterSet, tagInstanceAvailability, tagStudyInstanceUID, tagSeriesInstanceUID:
		return true
	}
	return false
}

// Answer is what a query returns of a Data Set that matches, sorted by tag as
// that is. RetrieveURL is left to the transport. Values are shared with other
// answers.
func (m *Matcher) Answer(ds dicom.DataSet) dicom.DataSet {
	out := make(dicom.DataSet, 0, len(m.returned))
	for i := range m.returned {
		r := &m.returned[i]
		for len(ds) > 0 && ds[0].Tag < r.tag {
			ds = ds[1:]
		}
		switch {
		case r.is != nil:
			out = append(out, dicom.Element{Tag: r.tag, VR: r.vr, Values: r.is})
		case len(ds) > 0 && ds[0].Tag == r.tag:
			out = append(out, ds[0])
		case r.empty:
			out = append(out, dicom.Element{Tag: r.tag, VR: r.vr})
		}
	}
	return out
}

func element(tag dicom.Tag, vr dicom.VR, values ...string) dicom.Element {
	e := dicom.Element{Tag: tag, VR: vr}
	if len(values) > 0 && (len(values) > 1 || values[0] != "") {
		e.Values = values
	}
	return e
}

// Answers are the answers that one series from Images holds, in the order of
// InstanceNumber and SOPInstanceUID; packed are the instances in its Packs.
// Those that no pack holds as a member of the series are passed over, and one
// that lies in two places is answered once.
func (m *Matcher) Answers(s ImageSeries, packed []PackedInstance) []dicom.DataSet {
	seen := make(map[string]bool, len(s.Live)+len(packed))
	found := make([]candidate, 0, len(s.Live)+len(packed))
	add := func(in storage.Instance, attributes dicom.DataSet) {
		sop := in.Key.SOPInstanceUID
		if seen[sop] || s.hides(in) && !m.named() {
			return
		}
		seen[sop] = true
		ds := merge(s.Attributes, imageAttributes(in, attributes, m.known))
		if m.Matches(ds) {
			found = append(found, candidate{instanceNumber(attributes), sop, ds})
		}
	}
	for i := range s.Live {
		add(s.Live[i].Instance.Instance, s.Live[i].Attributes)
	}
	for i := range packed {
		in := &packed[i]
		if slices.ContainsFunc(s.Packs, func(p Pack) bool { return p.Members.Holds(in.Key.SOPInstanceUID, in.Digest) }) {
			add(in.Instance, in.Attributes)
		}
	}
	slices.SortFunc(found, candidate.compare)
	out := make([]dicom.DataSet, len(found))
	for i, c := range found {
		out[i] = m.Answer(c.ds)
	}
	return out
}

type candidate struct {
	number int64
	sop    string
	ds     dicom.DataSet
}

func (c candidate) compare(d candidate) int {
	switch {
	case c.number != d.number && c.number < d.number:
		return -1
	case c.number != d.number:
		return 1
	case c.sop < d.sop:
		return -1
	case c.sop > d.sop:
		return 1
	}
	return 0
}

// instanceNumber is the InstanceNumber, or one beyond all for none.
func instanceNumber(ds dicom.DataSet) int64 {
	n, err := strconv.ParseInt(value(ds, tagInstanceNumber), 10, 32)
	if err != nil {
		return 1 << 32
	}
	return n
}

// imageAttributes are the attributes of the instance's own level, with what is
// known from how it is stored.
func imageAttributes(in storage.Instance, ds dicom.DataSet, known map[dicom.Tag]attribute) dicom.DataSet {
	own := make(dicom.DataSet, 0, len(ds)+3)
	for _, e := range ds {
		switch e.Tag {
		case tagSOPClassUID, tagSOPInstanceUID, tagTransferSyntaxOffered:
			continue
		}
		if a, ok := known[e.Tag]; ok && a.level == Image && e.Bulk == nil {
			own = append(own, e)
		}
	}
	return merge(own, dicom.DataSet{
		element(tagSOPClassUID, "UI", in.SOPClassUID),
		element(tagSOPInstanceUID, "UI", in.Key.SOPInstanceUID),
		element(tagTransferSyntaxOffered, "UI", in.TransferSyntaxUID),
	})
}

// merge is the union of two sorted Data Sets; a stands where both have a tag.
func merge(a, b dicom.DataSet) dicom.DataSet {
	out := make(dicom.DataSet, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0].Tag < b[0].Tag:
			out, a = append(out, a[0]), a[1:]
		case a[0].Tag > b[0].Tag:
			out, b = append(out, b[0]), b[1:]
		default:
			out, a, b = append(out, a[0]), a[1:], b[1:]
		}
	}
	return append(append(out, a...), b...)
}
