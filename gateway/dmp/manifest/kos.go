package manifest

import (
	"slices"
	"strconv"
	"strings"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

const (
	// SOPClassUID is Key Object Selection Document Storage (PS3.4 §B.5).
	SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.59"
	// TransferSyntaxUID is that in which DataSet is written: Explicit VR Little
	// Endian.
	TransferSyntaxUID = "1.2.840.10008.1.2.1"
)

// DataSet is the manifest as a Key Object Selection Document (PS3.3 §A.35.4)
// in the national shape, in TransferSyntaxUID. A manifest that is not valid is
// storage.ErrInvalid.
func (m *Manifest) DataSet() ([]byte, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return dicom.AppendExplicit(nil, sorted(slices.Concat(
		m.common(), m.patient(), m.study(), m.document(), m.content(),
	)))
}

func sorted(ds dicom.DataSet) dicom.DataSet {
	slices.SortFunc(ds, func(a, b dicom.Element) int { return int(int64(a.Tag) - int64(b.Tag)) })
	return ds
}

// text is an element with values; an empty one where the only value is "".
func text(tag dicom.Tag, vr dicom.VR, values ...string) dicom.Element {
	if len(values) == 1 && values[0] == "" {
		values = nil
	}
	return dicom.Element{Tag: tag, VR: vr, Values: values}
}

func sequence(tag dicom.Tag, items ...dicom.DataSet) dicom.Element {
	for _, item := range items {
		sorted(item)
	}
	return dicom.Element{Tag: tag, VR: "SQ", Items: items}
}

// code is a coded entry (PS3.3 §8.8).
func code(value, scheme, meaning string) dicom.DataSet {
	return dicom.DataSet{text(0x00080100, "SH", value), text(0x00080102, "SH", scheme), text(0x00080104, "LO", meaning)}
}

// common are the SOP Common, General Equipment and Key Object Document Series
// modules.
func (m *Manifest) common() dicom.DataSet {
	return dicom.DataSet{
		text(0x00080005, "CS", "ISO_IR 192"),
		text(0x00080012, "DA", m.Created.Format("20060102")),
		text(0x00080013, "TM", m.Created.Format("150405")),
		text(0x00080016, "UI", SOPClassUID),
		text(0x00080018, "UI", m.SOPInstanceUID()),
		text(0x00080060, "CS", "KO"),
		text(0x00080070, "LO", "Cigogne"),
		text(0x00080080, "LO", m.Structure.xon()),
		text(0x00080201, "SH", m.Created.Format("-0700")),
		sequence(0x00081111), // ReferencedPerformedProcedureStepSequence
		text(0x0020000D, "UI", m.Study.StudyInstanceUID),
		text(0x0020000E, "UI", m.SeriesInstanceUID()),
		text(0x00200011, "IS", "1"),
		text(0x00200013, "IS", strconv.Itoa(m.Version)),
	}
}

// longestLO is how many characters a value of VR LO has at the most.
const longestLO = 64

// xon is the structure as an extended name of HL7 v2, which ends in its
// identifier. The name is cut to what room there is.
func (s Structure) xon() string {
	tail := "^^^^^&" + s.OID + "&ISO^IDNST^^^" + s.ID
	name := []rune(strings.Map(func(r rune) rune {
		if strings.ContainsRune(`^&~|\`, r) {
			return ' '
		}
		return r
	}, s.Name))
	return string(name[:min(len(name), max(0, longestLO-len(tail)))]) + tail
}

// patient is the Patient module: the national identity, and nothing that the
// site calls the patient by.
func (m *Manifest) patient() dicom.DataSet {
	p := m.Patient
	qualifiers := sequence(0x00100024, dicom.DataSet{
		text(0x00400032, "UT", p.Issuer.UniversalID), text(0x00400033, "CS", p.Issuer.UniversalIDType),
	})
	return dicom.DataSet{
		text(0x00100010, "PN", p.Name),
		text(0x00100020, "LO", p.Matricule),
		text(0x00100021, "LO", p.Issuer.Name),
		qualifiers,
		text(0x00100030, "DA", p.BirthDate),
		text(0x00100040, "CS", p.Sex),
		sequence(0x00101002, dicom.DataSet{
			text(0x00100020, "LO", p.Matricule), text(0x00100021, "LO", p.Issuer.Name),
			text(0x00100022, "CS", "TEXT"), qualifiers,
		}),
		text(0x00104000, "LT", p.BirthPlace),
	}
}

// study is the General Study module. The accession stands in the request
// alone, where its issuer does.
func (m *Manifest) study() dicom.DataSet {
	s := &m.Study
	return dicom.DataSet{
		text(0x00080020, "DA", s.StudyDate),
		text(0x00080030, "TM", s.StudyTime),
		text(0x00080050, "SH"),
		text(0x00080090, "PN", s.Referring),
		text(0x00081030, "LO", s.Description),
		text(0x00200010, "SH", s.StudyID),
		sequence(0x0040A370, m.request()),
	}
}

// request is what the study was made for.
func (m *Manifest) request() dicom.DataSet {
	s := &m.Study
	r := dicom.DataSet{
		text(0x00080050, "SH", s.AccessionNumber),
		sequence(0x00081110), // ReferencedStudySequence
		text(0x0020000D, "UI", s.StudyInstanceUID),
		text(0x00321060, "LO"), // RequestedProcedureDescription
		sequence(0x00321064),   // RequestedProcedureCodeSequence
		text(0x00401001, "SH"), // RequestedProcedureID
		text(0x00402016, "LO", s.PlacerOrder),
		text(0x00402017, "LO"), // FillerOrderNumberImagingServiceRequest
	}
	if s.AccessionIssuer != (storage.Issuer{}) {
		r = append(r, sequence(0x00080051, hierarchic(s.AccessionIssuer)))
	}
	if s.PlacerIssuer != (storage.Issuer{}) {
		r = append(r, sequence(0x00400026, hierarchic(s.PlacerIssuer)))
	}
	return r
}

// hierarchic is an HL7v2 Hierarchic Designator (PS3.3 §10.17).
func hierarchic(i storage.Issuer) (d dicom.DataSet) {
	if i.Name != "" {
		d = append(d, text(0x00400031, "UT", i.Name))
	}
	if i.UniversalID != "" {
		d = append(d, text(0x00400032, "UT", i.UniversalID), text(0x00400033, "CS", i.UniversalIDType))
	}
	return d
}

// document is the Key Object Document module: the evidence.
func (m *Manifest) document() dicom.DataSet {
	var series []dicom.DataSet
	for i := range m.Study.Series {
		s := &m.Study.Series[i]
		var instances []dicom.DataSet
		for _, in := range s.Instances {
			instances = append(instances, dicom.DataSet{
				text(0x00081150, "UI", in.SOPClassUID), text(0x00081155, "UI", in.SOPInstanceUID), text(0x00200013, "IS", in.Number),
			})
		}
		item := dicom.DataSet{
			text(0x00081190, "UR", m.seriesURL(s)),
			sequence(0x00081199, instances...),
			text(0x0020000E, "UI", s.SeriesInstanceUID),
			text(0x00200011, "IS", s.Number),
		}
		if m.Location != "" {
			item = append(item, text(0x0040E011, "UI", m.Location))
		}
		series = append(series, item)
	}
	return dicom.DataSet{
		text(0x00080023, "DA", m.Created.Format("20060102")),
		text(0x00080033, "TM", m.Created.Format("150405")),
		sequence(0x0040A375, dicom.DataSet{sequence(0x00081115, series...), text(0x0020000D, "UI", m.Study.StudyInstanceUID)}),
	}
}

// content is the SR Document Content module (PS3.16 TID 2010): each series is
// named, and its instances follow.
func (m *Manifest) content() dicom.DataSet {
	var items []dicom.DataSet
	for i := range m.Study.Series {
		s := &m.Study.Series[i]
		items = append(items, dicom.DataSet{
			text(0x0040A010, "CS", "CONTAINS"),
			text(0x0040A040, "CS", "TEXT"),
			sequence(0x0040A043, code("113012", "DCM", "Key Object Description")),
			text(0x0040A160, "UT", "Série-"+s.SeriesInstanceUID+" : "+s.Modality),
		})
		for _, in := range s.Instances {
			items = append(items, dicom.DataSet{
				sequence(0x00081199, dicom.DataSet{text(0x00081150, "UI", in.SOPClassUID), text(0x00081155, "UI", in.SOPInstanceUID)}),
				text(0x0040A010, "CS", "CONTAINS"),
				text(0x0040A040, "CS", valueType(in.SOPClassUID)),
			})
		}
	}
	return dicom.DataSet{
		text(0x0040A040, "CS", "CONTAINER"),
		sequence(0x0040A043, code("113030", "DCM", "Manifest")),
		text(0x0040A050, "CS", "SEPARATE"),
		sequence(0x0040A504, dicom.DataSet{text(0x00080105, "CS", "DCMR"), text(0x0040DB00, "CS", "2010")}),
		sequence(0x0040A730, items...),
	}
}

// valueType is how the content refers to an instance: IMAGE where its SOP
// class is one of images, else COMPOSITE (PS3.3 §C.18.3 and §C.18.4).
func valueType(sopClassUID string) string {
	rest, ok := strings.CutPrefix(sopClassUID, "1.2.840.10008.5.1.4.1.1.")
	family, _, _ := strings.Cut(rest, ".")
	switch {
	case !ok:
		return "COMPOSITE"
	case rest == "481.1", rest == "66.4", rest == "30": // RT Image, Segmentation, Parametric Map
		return "IMAGE"
	}
	switch family {
	case "1", "2", "3", "4", "5", "6", "7", "12", "13", "14", "20", "77", "128", "130":
		return "IMAGE"
	}
	return "COMPOSITE"
}
