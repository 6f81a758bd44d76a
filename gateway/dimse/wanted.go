package dimse

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
)

// Who assigned a PatientID: see index.IssuerOf.
const (
	tagIssuerOfPatientID dicom.Tag = 0x00100021
	tagIssuerQualifiers  dicom.Tag = 0x00100024 // IssuerOfPatientIDQualifiersSequence
)

// wanted is what a retrieval asks for of one study: all that the Selector
// selects, or of that the instances named.
type wanted struct {
	gateway.Selector
	only map[string]bool // SOPInstanceUIDs; nil is all
}

// resource is how the Gatekeeper knows it.
func (w wanted) resource() string { return "studies/" + w.StudyInstanceUID }

// among are those of the instances found that are wanted.
func (w wanted) among(found []gateway.Instance) []gateway.Instance {
	if w.only == nil {
		return found
	}
	return slices.DeleteFunc(slices.Clone(found), func(in gateway.Instance) bool { return !w.only[in.About().Key.SOPInstanceUID] })
}

// wanted reads the Identifier of a C-MOVE or C-GET (PS3.4 §C.4.2.2.1): a UID or
// a list of them at the level, and above it the one UID of each level. Of
// the Patient Root a PatientID must be there at its own level alone. An
// Identifier of another shape is storage.ErrInvalid.
func (r *retrieval) wanted(ctx context.Context) ([]wanted, error) {
	levels, err := r.identifier.levels(r.context.abstractSyntax)
	if err != nil {
		return nil, err
	}
	byPatient := levels[0].name == levelPatient
	if byPatient && len(levels) == 1 {
		return r.ofPatient(ctx, nil)
	}
	var keys []dicom.Tag
	for _, l := range levels {
		if l.name != levelPatient {
			keys = append(keys, l.unique)
		}
	}
	above, list, err := r.identifier.path(keys)
	if err != nil {
		return nil, err
	}
	all := selected(above, list)
	if byPatient && r.identifier.names(tagPatientID) {
		return r.ofPatient(ctx, all)
	}
	return all, nil
}

// path reads the keys of the levels: one UID for each, and a list for the last.
func (id identifier) path(keys []dicom.Tag) (above, last []string, err error) {
	for i, key := range keys {
		uids, err := id.uids(key)
		switch {
		case err != nil:
			return nil, nil, err
		case len(uids) == 0:
			return nil, nil, fmt.Errorf("%w: %s is missing", storage.ErrInvalid, key)
		case i == len(keys)-1:
			return above, uids, nil
		case len(uids) > 1:
			return nil, nil, fmt.Errorf("%w: %s is a list, and not at its level", storage.ErrInvalid, key)
		}
		above = append(above, uids[0])
	}
	return above, nil, nil
}

// selected is what a list of UIDs below a study, or a study and a series,
// selects. Each is asked for once.
func selected(above, list []string) []wanted {
	var all []wanted
	seen := map[string]bool{}
	for _, uid := range list {
		if seen[uid] {
			continue
		}
		seen[uid] = true
		switch len(above) {
		case 0:
			all = append(all, wanted{Selector: gateway.Selector{StudyInstanceUID: uid}})
		case 1:
			all = append(all, wanted{Selector: gateway.Selector{StudyInstanceUID: above[0], SeriesInstanceUID: uid}})
		default:
			all = append(all, wanted{Selector: gateway.Selector{StudyInstanceUID: above[0], SeriesInstanceUID: above[1], SOPInstanceUID: uid}})
		}
	}
	if len(all) > 1 && len(above) == 2 { // it is one question for the index
		return []wanted{{Selector: gateway.Selector{StudyInstanceUID: above[0], SeriesInstanceUID: above[1]}, only: seen}}
	}
	return all
}

// ofPatient leaves of what is wanted that of the studies of the patient whom
// the Identifier names; of nil it makes all their studies. What it says of who
// assigned the PatientID is matched as by C-FIND: it would be another patient's
// studies otherwise.
func (r *retrieval) ofPatient(ctx context.Context, all []wanted) ([]wanted, error) {
	if !r.identifier.single(tagPatientID) {
		return nil, fmt.Errorf("%w: no PatientID", storage.ErrInvalid)
	}
	q := question{Query: index.Query{Level: index.Study, Limit: mostSuboperations + 1}}
	for _, key := range []dicom.Tag{tagPatientID, tagIssuerOfPatientID, tagIssuerQualifiers} {
		e, _ := r.identifier.keys.Get(key)
		if err := q.match([]dicom.Tag{key}, e); err != nil {
			return nil, err
		}
	}
	if all != nil {
		var studies []string
		for _, w := range all {
			studies = append(studies, w.StudyInstanceUID)
		}
		q.Match = append(q.Match, index.Condition{Path: []dicom.Tag{tagStudyInstanceUID}, Value: strings.Join(slices.Compact(studies), `\`)})
	}
	theirs := map[string]bool{}
	var found []wanted
	for ds, err := range r.association.server.cfg.Finder.Find(ctx, q.Query) {
		if err != nil {
			return nil, err
		}
		study := ds.String(tagStudyInstanceUID)
		theirs[study] = true
		found = append(found, wanted{Selector: gateway.Selector{StudyInstanceUID: study}})
	}
	if all == nil {
		return found, nil
	}
	return slices.DeleteFunc(all, func(w wanted) bool { return !theirs[w.StudyInstanceUID] }), nil
}
