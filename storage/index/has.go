package index

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/esante-alsace/cigogne/storage/dicom"
)

// asked is all that Has needs to know, in one statement: it is of one moment
// without a transaction, and what a statement costs is the driver's more than
// the rows'. A row tells of an instance of the SOPInstanceUID that lies in a
// journal or is kept aside, of a pack of the study, or of the study.
const asked = `SELECT 0, digest = ?2, NULL FROM instance WHERE sop = ?1
	UNION ALL SELECT 0, 1, NULL FROM conflict WHERE sop = ?1 AND digest = ?2
	UNION ALL SELECT 1, 0, members FROM pack WHERE study = ?3 AND conflict = 0 AND plan IS NULL
	UNION ALL SELECT 2, 0, attributes FROM study WHERE uid = ?3`

// Has tells what the instance would be if it were received now. It is meant to
// answer for a duplicate before it costs anything; Apply decides. A duplicate
// is known by its names and Digest alone; Attributes are looked at to tell
// whether its study belongs to another patient.
func (x *Index) Has(ctx context.Context, in Instance) (Standing, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if _, err := x.ask.now(); err != nil {
		return 0, fmt.Errorf("index: %w", err)
	}
	if found, ok := x.fromMemory(&in); ok {
		return found, nil
	}
	version, _ := x.Version(in.Key.StudyInstanceUID)
	found, study, err := x.look(ctx, &in)
	if err != nil {
		return 0, err
	}
	study.version = version
	x.known.put(in.Key.StudyInstanceUID, study)
	if found == StandingNew && study.isOthers(&in) {
		found = StandingConflict
	}
	return found, nil
}

// look tells what the instance would be in a study of its patient's, and of
// its study what is to be remembered.
func (x *Index) look(ctx context.Context, in *Instance) (found Standing, study knownStudy, err error) {
	found = StandingNew
	args := []any{in.Key.SOPInstanceUID, in.Digest[:], in.Key.StudyInstanceUID}
	// A few rows are looked up by their keys: to watch for an end of ctx
	// meanwhile would cost more than that.
	err = each(context.WithoutCancel(ctx), x.ask, asked, args, func(rows *sql.Rows) error {
		var kind int
		var same bool
		var blob sql.RawBytes // it is looked at where it lies
		if err := rows.Scan(&kind, &same, &blob); err != nil {
			return err
		}
		switch kind {
		case 0:
			found = found.and(same)
		case 1:
			study.packs = true
			found = Members(blob).compare(Named{in.Key, in.Digest}, found)
		default:
			attributes, err := decodeSet(blob)
			study.described, study.patient = len(attributes) > 0, attributes.Select([]dicom.Tag{tagPatientID, tagIssuerOfPatientID, tagIssuerQualifiers})
			return err
		}
		return nil
	})
	return found, study, err
}

// and is what an instance is, given what it was found to be before and that
// another of its SOPInstanceUID is there, which may be the very same.
func (found Standing) and(same bool) Standing {
	switch {
	case same:
		return StandingDuplicate
	case found == StandingNew:
		return StandingConflict
	}
	return found
}

// compare is what the instance is, given what it was found to be before and
// the members of a pack of its study.
func (m Members) compare(a Named, found Standing) Standing {
	switch sop := a.Key.SOPInstanceUID; {
	case found == StandingDuplicate || m.Holds(sop, a.Digest):
		return StandingDuplicate
	case m.Named(sop):
		return StandingConflict
	}
	return found
}
