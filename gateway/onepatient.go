package gateway

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
)

const tagStudyInstanceUID dicom.Tag = 0x0020000D

// severalPatients is how many patients of one PatientID are looked at to tell
// that there are several.
const severalPatients = 64

// onePatient keeps a question that names a patient by PatientID alone from
// being answered with the studies of two: viewers ask so for priors, and show
// what they get as one patient's. Such a question is storage.ErrConflict where
// more than one issuer uses the PatientID. It is not narrowed to the issuer of
// who asks: what a viewer shows can be another site's.
func (s *Searcher) onePatient(ctx context.Context, q index.Query) (index.Query, error) {
	var named, issuer []index.Condition
	for _, c := range q.Match {
		switch value := strings.Trim(c.Value, " \x00"); {
		case strings.Trim(value, "*") == "":
		case c.Path[0] == tagStudyInstanceUID:
			return q, nil
		case c.Path[0] == tagPatientID && !strings.ContainsAny(value, "*?"):
			named = append(named, c)
		case c.Path[0] == tagIssuerOfPatientID || c.Path[0] == tagIssuerQualifiers:
			issuer = append(issuer, c)
		}
	}
	if len(named) == 0 || q.StudyInstanceUID != "" {
		return q, nil
	}
	found, err := s.index.PatientsOf(ctx, index.Query{Level: index.Study, Match: append(named, issuer...)}, severalPatients)
	if err != nil {
		return q, err
	}
	return q, unambiguous(found)
}

// unambiguous fails when two of the patients have one PatientID.
func unambiguous(found []index.PatientKey) error {
	issuers := map[string][]string{}
	for _, p := range found {
		issuers[p.PatientID] = append(issuers[p.PatientID], p.Issuer)
	}
	for _, of := range issuers {
		if len(of) > 1 {
			slices.Sort(of)
			return fmt.Errorf("%w: the PatientID is that of several patients: ask with IssuerOfPatientID, or its UniversalEntityID, of one of %q",
				storage.ErrConflict, of)
		}
	}
	return nil
}
