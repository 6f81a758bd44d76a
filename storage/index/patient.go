package index

import (
	"context"
	"fmt"
	"strings"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

// PatientKey names a patient as one issuer knows them. A PatientID alone names
// nobody: every issuer counts from 1.
type PatientKey struct {
	// Issuer is storage.Issuer's Key, "" where nobody said who it is.
	Issuer string `cbor:"1,keyasint,omitempty" json:"issuer"`
	// PatientID is compared whole, without spaces around it.
	PatientID string `cbor:"2,keyasint,omitempty" json:"patientID"`
}

// PatientOf is whose the attributes say that they are.
func PatientOf(ds dicom.DataSet) PatientKey {
	return PatientKey{Issuer: IssuerOf(ds).Key(), PatientID: whole(ds, tagPatientID)}
}

// IssuerOf is who assigned the PatientID: IssuerOfPatientID, and the first
// item of IssuerOfPatientIDQualifiersSequence that has an identifier.
func IssuerOf(ds dicom.DataSet) storage.Issuer {
	is := storage.Issuer{Name: whole(ds, tagIssuerOfPatientID)}
	if qualifiers := find(ds, tagIssuerQualifiers); qualifiers != nil {
		for _, item := range qualifiers.Items {
			if id := value(item, tagUniversalEntityID); id != "" {
				is.UniversalID, is.UniversalIDType = id, value(item, tagUniversalEntityIDType)
				break
			}
		}
	}
	return is
}

// assumed tells whether the issuer is not one that anybody stated: it says
// nothing against another.
func assumed(issuer string) bool {
	return issuer == "" || strings.HasPrefix(issuer, storage.AssumedIssuer)
}

// contradict tells whether two issuers cannot be one. What names both of them
// decides, the universal identifier first; one that nobody stated says nothing.
func contradict(a, b storage.Issuer) bool {
	switch {
	case assumed(a.Key()) || assumed(b.Key()):
		return false
	case a.UniversalID != "" && b.UniversalID != "":
		return a.UniversalID != b.UniversalID
	default:
		return a.Name != b.Name || a.Name == ""
	}
}

// otherPatient tells whether the attributes name another patient than those of
// a study: another PatientID, an empty one included, or the same one of another
// issuer. Who sends a part of a study and says nothing of the issuer means the
// study's patient.
func otherPatient(study, ds dicom.DataSet) bool {
	return whole(ds, tagPatientID) != whole(study, tagPatientID) || contradict(IssuerOf(study), IssuerOf(ds))
}

// ofIssuer tells the attributes that say who assigned the PatientID. They are
// taken together from one instance: halves of two would name a third issuer.
func ofIssuer(t dicom.Tag) bool { return t == tagIssuerOfPatientID || t == tagIssuerQualifiers }

// withoutIssuer is ds without what says who assigned the PatientID.
func withoutIssuer(ds dicom.DataSet) dicom.DataSet {
	out := make(dicom.DataSet, 0, len(ds))
	for i := range ds {
		if !ofIssuer(ds[i].Tag) {
			out = append(out, ds[i])
		}
	}
	return out
}

// takeIssuer settles which of the two says who assigned the study's PatientID:
// the study, unless only the instance knows. It returns what of the instance
// may fill the study.
func (s *study) takeIssuer(ds dicom.DataSet) dicom.DataSet {
	switch is := IssuerOf(ds).Key(); {
	case is == "" || s.issuer == "" || is == s.issuer:
		return ds
	case assumed(s.issuer) && !assumed(is):
		s.attributes = withoutIssuer(s.attributes)
		return ds
	default:
		return withoutIssuer(ds)
	}
}

// PatientsOf lists the patients of the studies that q, at the Study level,
// finds, in no order that means anything: at most that many, so as to tell one
// from several.
func (x *Index) PatientsOf(ctx context.Context, q Query, most int) ([]PatientKey, error) {
	m, err := Compile(q)
	if err != nil {
		return nil, err
	}
	if q.Level != Study || q.Limit != 0 || q.Offset != 0 {
		return nil, fmt.Errorf("%w: the patients of a part of the studies", storage.ErrInvalid)
	}
	var found []PatientKey
	seen := make(map[PatientKey]bool)
	for c, err := range x.candidates(ctx, m, Study, firstChunk, 0) {
		if err != nil {
			return nil, err
		}
		p := PatientOf(c.attributes)
		if seen[p] || !m.Matches(c.attributes) {
			continue
		}
		seen[p] = true
		if found = append(found, p); len(found) == most {
			break
		}
	}
	return found, nil
}
