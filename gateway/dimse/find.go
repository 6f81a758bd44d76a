package dimse

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
)

const (
	tagRetrieveAETitle       dicom.Tag = 0x00080054
	tagInstanceAvailability  dicom.Tag = 0x00080056
	tagTimezoneOffsetFromUTC dicom.Tag = 0x00080201
	tagPatientID             dicom.Tag = 0x00100020
	tagStudyInstanceUID      dicom.Tag = 0x0020000D
	tagSeriesInstanceUID     dicom.Tag = 0x0020000E
	tagSOPInstanceUID        dicom.Tag = 0x00080018
)

// queryLevel is one of the Query/Retrieve levels (PS3.4 §C.6.1.1).
type queryLevel struct {
	name   string
	unique dicom.Tag // its unique key
	asked  index.Level
}

// levelPatient is the level that the Study Root has not.
const levelPatient = "PATIENT"

// levelsOf are the levels of an Information Model, from its root.
func levelsOf(abstractSyntax string) []queryLevel {
	all := []queryLevel{
		{levelPatient, tagPatientID, index.Study}, // asked of studies, see Finder.Patients
		{"STUDY", tagStudyInstanceUID, index.Study},
		{"SERIES", tagSeriesInstanceUID, index.Series},
		{"IMAGE", tagSOPInstanceUID, index.Image},
	}
	switch abstractSyntax {
	case StudyRootFind, StudyRootMove, StudyRootGet:
		return all[1:]
	}
	return all
}

// descend returns the levels from the root to the one of the Identifier. It is
// storage.ErrInvalid when there is no such level, or, unless relational, when a
// unique key above it is not there (PS3.4 §C.4.1.2.1).
func (id identifier) descend(abstractSyntax string, relational bool) ([]queryLevel, error) {
	levels, err := id.levels(abstractSyntax)
	if err != nil {
		return nil, err
	}
	for _, l := range levels[:len(levels)-1] {
		if !relational && !id.single(l.unique) {
			return nil, fmt.Errorf("%w: no single value of %s, the unique key of the %s level", storage.ErrInvalid, l.unique, l.name)
		}
	}
	return levels, nil
}

// errNoLevel is a QueryRetrieveLevel that the SOP class has not.
var errNoLevel = fmt.Errorf("%w: no QueryRetrieveLevel of the SOP class", storage.ErrInvalid)

// levels are those from the root to the one of the Identifier.
func (id identifier) levels(abstractSyntax string) ([]queryLevel, error) {
	all := levelsOf(abstractSyntax)
	depth := slices.IndexFunc(all, func(l queryLevel) bool { return l.name == id.level })
	if depth < 0 {
		return nil, errNoLevel
	}
	return all[:depth+1], nil
}

// mismatch is the answer to an Identifier that is not one of the SOP class.
func mismatch(err error) verdict {
	if errors.Is(err, errNoLevel) {
		return verdict{StatusMismatch, "QueryRetrieveLevel is none of the SOP class"}
	}
	return verdict{StatusMismatch, "Identifier does not match the SOP class"}
}

// question is what a C-FIND asks for.
type question struct {
	index.Query
	level string
	// keys are what is to be returned, as far as it is known.
	keys dicom.DataSet
	// status is that of each match: a warning when keys are not known.
	status Status
}

// find answers a C-FIND (PS3.4 §C.4.1).
func find(ctx context.Context, o *operation) response {
	cfg := &o.association.server.cfg
	ctx, cancel := context.WithTimeout(ctx, cfg.FindTimeout)
	defer cancel()
	matches := 0
	q, err := o.question(cfg.MaxMatches)
	if err == nil {
		matches, err = o.matches(ctx, q, cfg.MaxMatches)
	}
	last := judgeFind(ctx, err)
	if errors.Is(err, storage.ErrInvalid) { // it may quote what was asked
		err = errors.New(last.comment)
	}
	o.association.log.Info("query", "level", o.identifier.level, "asks", q.Describe(), "matches", matches, "status", last.status.String(), "reason", err)
	return response{verdict: last}
}

// question reads the Identifier. An error wraps storage.ErrInvalid.
func (o *operation) question(most int) (question, error) {
	q := question{level: o.identifier.level, status: StatusPending}
	levels, err := o.identifier.descend(o.context.abstractSyntax, o.context.options.relational)
	if err != nil {
		return q, err
	}
	// One more than is answered with tells whether there are more.
	q.Query = index.Query{Level: levels[len(levels)-1].asked, Fuzzy: o.context.options.fuzzy, Limit: most + 1}
	known := knownKeys(q.level, q.Level)
	for _, e := range o.identifier.keys {
		switch {
		case e.Tag == tagRetrieveAETitle, e.Tag == tagInstanceAvailability: // which each match has
		case !slices.Contains(known, e.Tag):
			q.status = StatusPendingWarning
		default:
			q.keys = append(q.keys, e)
			if e.Tag == tagTimezoneOffsetFromUTC {
				continue // it says how the others are meant
			}
			if err := q.match([]dicom.Tag{e.Tag}, e); err != nil {
				return q, err
			}
		}
	}
	for _, l := range levels {
		if _, asked := q.keys.Get(l.unique); !asked && slices.Contains(known, l.unique) {
			q.keys = q.keys.With(dicom.Element{Tag: l.unique, VR: l.unique.VR()})
		}
	}
	for _, e := range q.keys {
		q.Include = append(q.Include, e.Tag)
	}
	compiled, err := index.Compile(q.Query)
	if err == nil && len(compiled.Ignored()) > 0 {
		q.status = StatusPendingWarning
	}
	return q, err
}

// match adds the conditions of one key.
func (q *question) match(path []dicom.Tag, e dicom.Element) error {
	for _, item := range e.Items {
		for _, inside := range item {
			if err := q.match(append(slices.Clip(path), inside.Tag), inside); err != nil {
				return err
			}
		}
	}
	value := strings.Join(e.Values, `\`)
	if strings.ContainsRune(value, 0) || e.Bulk != nil {
		return fmt.Errorf("%w: the value of %s cannot be matched", storage.ErrInvalid, e.Tag)
	}
	if value != "" {
		q.Match = append(q.Match, index.Condition{Path: path, Value: value})
	}
	return nil
}

// knownKeys are those that are matched and returned at a level. Of a patient
// these are the attributes that are the same in all studies.
func knownKeys(name string, level index.Level) []dicom.Tag {
	known := index.Known(level)
	if name != levelPatient {
		return known
	}
	return slices.DeleteFunc(known, func(t dicom.Tag) bool {
		switch t {
		case 0x00101010, 0x00101020, 0x00101030: // PatientAge, PatientSize, PatientWeight: of a study
			return true
		}
		return t.Group() != 0x0010
	})
}

// matches sends what is found, each as it comes, and returns how many it sent.
// More than most are storage.ErrTooLarge.
func (o *operation) matches(ctx context.Context, q question, most int) (sent int, err error) {
	finder := o.association.server.cfg.Finder
	find := finder.Find
	if q.level == levelPatient {
		find = finder.Patients
	}
	for ds, err := range find(ctx, q.Query) {
		switch {
		case err != nil:
			return sent, err
		case ctx.Err() != nil:
			return sent, ctx.Err()
		case sent == most:
			return sent, fmt.Errorf("%w: more than %d matches", storage.ErrTooLarge, most)
		}
		match := response{verdict: verdict{status: q.status}, identifier: o.match(q, ds)}
		if err := o.respond(match); err != nil {
			return sent, err
		}
		sent++
	}
	return sent, nil
}

// match is the Identifier of a match (PS3.4 §C.4.1.1.3.2).
func (o *operation) match(q question, found dicom.DataSet) dicom.DataSet {
	ds := project(q.keys, found)
	over := []dicom.Element{
		{Tag: tagQueryRetrieveLevel, VR: "CS", Values: []string{q.level}},
		{Tag: tagRetrieveAETitle, VR: "AE", Values: []string{o.association.server.cfg.AETitle}},
	}
	if e, ok := found.Get(tagInstanceAvailability); ok {
		over = append(over, e)
	}
	return ds.With(over...)
}

// project returns of a Data Set what keys ask for: all that has no value here is
// there without one. Of a sequence the whole is returned unless keys inside it
// are named.
func project(keys, found dicom.DataSet) dicom.DataSet {
	out := make(dicom.DataSet, 0, len(keys)+3)
	for _, key := range keys {
		e, ok := found.Get(key.Tag)
		if !ok {
			e = dicom.Element{Tag: key.Tag, VR: key.Tag.VR()}
		}
		if len(key.Items) > 0 && len(key.Items[0]) > 0 {
			items := make([]dicom.DataSet, len(e.Items))
			for i, item := range e.Items {
				items[i] = project(key.Items[0], item)
			}
			e.Items = items
		}
		out = append(out, e)
	}
	return out
}

// judgeFind maps what became of a query to a status (PS3.4 §C.4.1.1.4).
func judgeFind(ctx context.Context, err error) verdict {
	switch {
	case err == nil:
		return verdict{status: StatusSuccess}
	case canceled(ctx), errors.Is(err, ErrLost), errors.Is(err, ErrClosed), errors.Is(err, context.Canceled):
		return verdict{status: StatusCanceled} // or there is nobody to tell
	case errors.Is(err, storage.ErrInvalid):
		return mismatch(err)
	case errors.Is(err, storage.ErrTooLarge), errors.Is(err, context.DeadlineExceeded):
		return verdict{StatusOutOfResources, "too many matches, ask for fewer by patient or date"}
	case errors.Is(err, storage.ErrConflict):
		return verdict{StatusAmbiguous, "PatientID is several patients': ask with IssuerOfPatientID"}
	case errors.Is(err, storage.ErrUnavailable), errors.Is(err, storage.ErrFull):
		return verdict{StatusOutOfResources, "cannot answer now, try again later"}
	case errors.Is(err, storage.ErrForbidden):
		return verdict{StatusNotAuthorized, "not authorized"}
	default:
		return verdict{StatusCannotUnderstand, "cannot answer"}
	}
}
