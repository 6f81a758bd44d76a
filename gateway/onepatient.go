package gateway

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/esante-alsace/cigogne/gateway/dmp/ins"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
)

const (
	tagStudyInstanceUID dicom.Tag = 0x0020000D
	tagOtherPatientIDs  dicom.Tag = 0x00101002 // OtherPatientIDsSequence
)

// severalPatients is how many patients of one PatientID are looked at to tell
// that there are several.
const severalPatients = 64

// onePatient keeps a question that names a patient from being answered with
// the studies of two. One by a national number asks for all identities that
// are linked with it. One by PatientID alone, as viewers ask for priors to show
// them as one patient's, is storage.ErrConflict where it is several persons';
// otherwise it asks for that person's other identities too, also in a study that
// it names, as who found one of those asks next. It is not narrowed
// to the issuer of who asks: what a viewer shows can be another site's.
func (s *Searcher) onePatient(ctx context.Context, q index.Query) (index.Query, error) {
	a := addressed(q)
	switch {
	case a.national:
		numbers, err := a.numbers(s.realm)
		if err != nil {
			return q, err
		}
		return s.allOf(ctx, a.rest(q), numbers)
	case len(a.named) == 0, a.study && len(a.issuer) > 0:
		return q, nil
	}
	found, err := s.index.PatientsOf(ctx, index.Query{Level: index.Study, Match: slices.Concat(a.named, a.issuer)}, severalPatients)
	if err != nil {
		return q, err
	}
	var person index.PatientKey
	if len(a.issuer) == 0 {
		if person, err = s.person(ctx, found); err != nil {
			return q, err
		}
	}
	switch {
	case person != (index.PatientKey{}):
		return s.allOf(ctx, a.rest(q), []index.PatientKey{person})
	case a.study: // it is one patient's
		return q, nil
	}
	return q, unambiguous(found)
}

// address is what a question says of whose studies it wants.
type address struct {
	study    bool // it names studies
	national bool // it names a national number
	named    []index.Condition
	issuer   []index.Condition
	other    []index.Condition // of OtherPatientIDsSequence
}

func addressed(q index.Query) address {
	a := address{study: q.StudyInstanceUID != ""}
	for _, c := range q.Match {
		value := strings.Trim(c.Value, " \x00")
		switch {
		case strings.Trim(value, "*") == "":
		case c.Path[0] == tagStudyInstanceUID:
			a.study = true
		case c.Path[0] == tagPatientID && !strings.ContainsAny(value, "*?"):
			a.named = append(a.named, c)
		case ofIssuer(c.Path):
			a.issuer = append(a.issuer, c)
			a.national = a.national || len(ins.Known(value)) > 0
		case c.Path[0] == tagOtherPatientIDs:
			a.other = append(a.other, c)
		}
	}
	a.national = a.national && len(a.named) > 0
	if !a.national {
		a.national = slices.ContainsFunc(a.other, func(c index.Condition) bool {
			return len(c.Path) == 2 && c.Path[1] == tagPatientID && ins.Check(strings.TrimSpace(c.Value)) == nil
		})
		if a.national {
			a.byOther()
		}
	}
	return a
}

// byOther takes the number out of OtherPatientIDsSequence.
func (a *address) byOther() {
	a.named, a.issuer = nil, nil
	for _, c := range a.other {
		switch inside := c.Path[1:]; {
		case inside[0] == tagPatientID:
			a.named = append(a.named, c)
		case ofIssuer(inside):
			a.issuer = append(a.issuer, c)
		}
	}
}

func ofIssuer(path []dicom.Tag) bool {
	return len(path) == 1 && path[0] == tagIssuerOfPatientID ||
		len(path) == 2 && path[0] == tagIssuerQualifiers && path[1] == tagUniversalEntityID
}

// numbers are the national numbers that are asked for: one matricule, under
// one or several OIDs of the realm.
func (a *address) numbers(realm ins.Realm) ([]index.PatientKey, error) {
	oids := realm.OIDs()
	for _, c := range a.issuer {
		known := ins.Known(strings.Trim(c.Value, " \x00"))
		oids = slices.DeleteFunc(oids, func(oid string) bool { return !slices.Contains(known, oid) })
	}
	if len(oids) == 0 {
		return nil, fmt.Errorf("%w: the issuer is not one of the national identities that this node deals in", storage.ErrInvalid)
	}
	if len(a.named) != 1 {
		return nil, fmt.Errorf("%w: one national number is asked for at a time", storage.ErrInvalid)
	}
	var numbers []index.PatientKey
	for _, oid := range oids {
		n, err := ins.Parse(a.named[0].Value, oid, realm)
		if err != nil {
			return nil, err
		}
		numbers = append(numbers, index.PatientKey{Issuer: n.OID, PatientID: n.Matricule})
	}
	return numbers, nil
}

// rest is the question without what says whose studies it wants, which its
// answers say all the same.
func (a *address) rest(q index.Query) index.Query {
	var match []index.Condition
	for _, c := range q.Match {
		if !a.says(c) {
			match = append(match, c)
		}
	}
	q.Match = match
	q.Include = append(slices.Clone(q.Include), tagPatientID, tagOtherPatientIDs)
	return q
}

// says tells whether the condition is one of those.
func (a *address) says(c index.Condition) bool {
	return slices.ContainsFunc(slices.Concat(a.named, a.issuer), func(o index.Condition) bool {
		return slices.Equal(o.Path, c.Path) && o.Value == c.Value
	})
}

// allOf asks for the studies under the numbers, and under every identity that
// is linked with one of them.
func (s *Searcher) allOf(ctx context.Context, q index.Query, numbers []index.PatientKey) (index.Query, error) {
	linked, err := s.index.Linked(ctx, numbers...)
	if err != nil {
		return q, err
	}
	if q.Patients != nil {
		return q, fmt.Errorf("%w: patients are named twice", storage.ErrInvalid)
	}
	q.Patients = slices.Concat(numbers, linked)
	return q, nil
}

// person is the national number that all the identities are linked with, or
// are; the zero PatientKey when there is not one for all.
func (s *Searcher) person(ctx context.Context, found []index.PatientKey) (index.PatientKey, error) {
	var person index.PatientKey
	for i, p := range found {
		number, err := s.index.NumberOf(ctx, p)
		if err != nil {
			return number, err
		}
		if s.realm.Accepts(p.Issuer) {
			number = p
		}
		if number == (index.PatientKey{}) || i > 0 && number != person {
			return index.PatientKey{}, nil
		}
		person = number
	}
	return person, nil
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
