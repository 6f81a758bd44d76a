package gateway

import (
	"context"
	"io"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
)

// The attributes that are laid over a Data Set, and those inside them.
const (
	tagInstitutionCode     dicom.Tag = 0x00080082 // InstitutionCodeSequence
	tagCodeValue           dicom.Tag = 0x00080100
	tagCodingScheme        dicom.Tag = 0x00080102 // CodingSchemeDesignator
	tagCodeMeaning         dicom.Tag = 0x00080104
	tagIssuerQualifiers    dicom.Tag = 0x00100024 // IssuerOfPatientIDQualifiersSequence
	tagUniversalEntityID   dicom.Tag = 0x00400032
	tagUniversalEntityType dicom.Tag = 0x00400033
)

// structures is the coding scheme of FINESS numbers: the OID under which the
// national health register identifies structures.
const structures = "1.2.250.1.71.4.2.2"

// overlay is the attributes of an instance with what its receiver knew of the
// sender laid over: who assigned the PatientID where the Data Set does not say
// so, and the site. ds is not changed.
func overlay(ds dicom.DataSet, s storage.Sender) dicom.DataSet {
	if s == (storage.Sender{}) {
		return ds
	}
	info := s.Info()
	out := ds.Without(tagInstitutionCode) // of the Data Set it would be another thing
	if info.Name != "" || info.FINESS != "" {
		out = out.With(siteElement(info))
	}
	if is, changed := issuerFor(index.IssuerOf(ds), info); changed {
		out = out.Without(tagIssuerOfPatientID, tagIssuerQualifiers).With(issuerElements(is)...)
	}
	return out
}

// issuerFor is who assigned the PatientID, and whether that is more than the
// Data Set states. A sender's issuer completes one that is half stated.
func issuerFor(stated storage.Issuer, s storage.SenderInfo) (storage.Issuer, bool) {
	same := stated.Name != "" && stated.Name == s.Issuer.Name && stated.UniversalID == "" ||
		stated.UniversalID != "" && stated.UniversalID == s.Issuer.UniversalID && stated.Name == ""
	if s.Issuer.Key() != "" && (stated.Key() == "" || same || s.IssuerStands) {
		return s.Issuer, s.Issuer != stated
	}
	return stated, false
}

func issuerElements(is storage.Issuer) dicom.DataSet {
	var ds dicom.DataSet
	if is.Name != "" {
		ds = append(ds, text(tagIssuerOfPatientID, "LO", is.Name))
	}
	if is.UniversalID != "" {
		ds = append(ds, dicom.Element{Tag: tagIssuerQualifiers, VR: "SQ", Items: []dicom.DataSet{{
			text(tagUniversalEntityID, "UT", is.UniversalID), text(tagUniversalEntityType, "CS", is.UniversalIDType),
		}}})
	}
	return ds
}

func siteElement(s storage.SenderInfo) dicom.Element {
	item := dicom.DataSet{text(tagCodeMeaning, "LO", s.Name)}
	if s.FINESS != "" {
		item = dicom.DataSet{text(tagCodeValue, "SH", s.FINESS), text(tagCodingScheme, "SH", structures), item[0]}
	}
	return dicom.Element{Tag: tagInstitutionCode, VR: "SQ", Items: []dicom.DataSet{item}}
}

func text(t dicom.Tag, vr dicom.VR, v string) dicom.Element {
	return dicom.Element{Tag: t, VR: vr, Values: []string{v}}
}

// overlaid tells what is laid over the metadata of an instance.
type overlaid func(ctx context.Context) (dicom.DataSet, error)

// of is what is laid over that instance. A manifest of the gateway's own says
// itself whose its PatientID is, which is not the study's.
func (o overlaid) of(in storage.Instance) overlaid {
	if in.Origin.Transport == storage.TransportManifest {
		return nil
	}
	return o
}

// write returns a writer of one DICOM JSON object that lays it over.
func (o overlaid) write(ctx context.Context, w io.Writer) (io.Writer, error) {
	if o == nil {
		return w, nil
	}
	over, err := o(ctx)
	if err != nil {
		return nil, err
	}
	return dicom.WithElements(w, over), nil
}
