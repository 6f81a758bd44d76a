package gateway

import (
	"context"
	"iter"
	"slices"

	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
)

// patientsPage is the most studies that are looked at in one search for
// patients, studiesEach how many of them for each patient that is asked for.
const (
	patientsPage = 10_000
	studiesEach  = 4
)

// Patients yields one answer to q for each patient of whom a study is found,
// with the attributes of the first of those in the order of Find. One PatientID
// of several issuers is several patients, which is what is asked and no
// conflict. q is of the Study level; its Limit counts patients, and bounds with
// them what is held in memory, 0 is no limit. Offset and After are not for it.
func (s *Searcher) Patients(ctx context.Context, q index.Query) iter.Seq2[dicom.DataSet, error] {
	return func(yield func(dicom.DataSet, error) bool) {
		err := s.indexer.Await(ctx)
		if err == nil || behind(err) {
			err = nil
			if addressed(q).national {
				q, err = s.onePatient(ctx, q)
			}
		}
		if err != nil {
			yield(nil, err)
			return
		}
		most := q.Limit
		if q.Limit = patientsPage; most > 0 {
			q.Limit = min(patientsPage, studiesEach*most)
		}
		q.Include = append(slices.Clip(q.Include), tagIssuerOfPatientID, tagIssuerQualifiers)
		met := map[patientMet]struct{}{}
		for more := true; more; {
			studies := 0
			for ds, err := range s.index.Search(ctx, q) {
				if err != nil {
					yield(nil, err)
					return
				}
				studies++
				place := index.PlaceOf(ds)
				q.After = &place
				who := metIn(ds)
				if _, again := met[who]; again {
					continue
				}
				met[who] = struct{}{}
				if !yield(ds, nil) || len(met) == most {
					return
				}
			}
			more = studies == q.Limit
		}
	}
}

// patientMet tells patients apart: those without a PatientID by their name and
// birth date.
type patientMet struct {
	index.PatientKey
	name, born string
}

func metIn(ds dicom.DataSet) patientMet {
	who := patientMet{PatientKey: index.PatientOf(ds)}
	if who.PatientID == "" {
		who.name, who.born = ds.String(tagPatientName), ds.String(tagPatientBirthDate)
	}
	return who
}
