package index

import (
	"context"
	"database/sql"
	"strconv"

	"github.com/esante-alsace/cigogne/storage/dicom"
)

const (
	studyColumns = `s.date, s.uid, s.modalities, s.classes, s.series, s.instances, s.attributes,
		l.authority, l.number, l.name, s.manifests, ` + standingManifest
	linkOfStudy   = ` LEFT JOIN identity_link l ON l.patient = s.patient AND l.issuer = s.issuer `
	seriesColumns = `, e.uid, e.instances, e.attributes, e.manifests`
)

// found is a study or a series that SQL let through.
type found struct {
	cursor
	attributes dicom.DataSet
	instances  int
	manifests  int // of the series
	stands     string
}

// rows reads the candidates whose ids a query yields, in the order of answers.
func (x *Index) rows(ctx context.Context, l Level, inner string, args []any, limit int) ([]found, error) {
	query := `SELECT ` + studyColumns + ` FROM study s` + linkOfStudy + `WHERE s.id IN (` + inner + `) ORDER BY s.date DESC, s.uid`
	if l > Study {
		query = `SELECT ` + studyColumns + seriesColumns + ` FROM series e CROSS JOIN study s ON s.id = e.study` + linkOfStudy + `
			WHERE e.id IN (` + inner + `) ORDER BY s.date DESC, s.uid, e.uid`
	}
	out := make([]found, 0, min(limit, firstChunk))
	var r row
	to := r.columns(l)
	err := each(ctx, x.read, query, args, func(rows *sql.Rows) error {
		if err := rows.Scan(to...); err != nil {
			return err
		}
		f, err := r.found(l)
		out = append(out, f)
		return err
	})
	return out, err
}

// row is the place that the rows of a query are scanned to, one after the
// other.
type row struct {
	date, study, modalities, classes string
	inStudy, instances, manifests    int64 // its series, instances and manifests
	attributes                       sql.RawBytes
	authority, number, name          sql.NullString // of the link, if there is one
	stands                           string

	series            string
	inSeries          int64
	manifestsInSeries int64
	seriesAttributes  sql.RawBytes

	// last is the study of the row before, which has series in the rows that
	// follow, and of it all attributes.
	last    string
	ofStudy dicom.DataSet
}

// columns are where studyColumns and seriesColumns go.
func (r *row) columns(l Level) []any {
	to := []any{&r.date, &r.study, &r.modalities, &r.classes, &r.inStudy, &r.instances, &r.attributes,
		&r.authority, &r.number, &r.name, &r.manifests, &r.stands}
	if l > Study {
		to = append(to, &r.series, &r.inSeries, &r.seriesAttributes, &r.manifestsInSeries)
	}
	return to
}

// found is what the row holds.
func (r *row) found(l Level) (found, error) {
	hidden := superseded(r.manifests, r.stands)
	f := found{cursor: cursor{set: true, date: r.date, study: r.study}, instances: int(r.instances - hidden), stands: r.stands}
	if r.last != r.study {
		own, err := decodeSet(r.attributes)
		if err != nil {
			return f, err
		}
		series := r.inStudy
		if r.manifests > 0 && hidden == r.manifests { // they are a series of their own
			series--
		}
		r.last = r.study
		r.ofStudy = merge(dicom.DataSet{
			element(tagModalitiesInStudy, "CS", splitList(r.modalities)...),
			element(tagSOPClassesInStudy, "UI", splitList(r.classes)...),
			element(tagStudyInstanceUID, "UI", r.study),
			element(tagSeriesInStudy, "IS", strconv.FormatInt(series, 10)),
			element(tagInstancesInStudy, "IS", strconv.Itoa(f.instances)),
		}, nationalLink{r.authority.String, r.number.String, r.name.String}.over(own))
	}
	if f.attributes = r.ofStudy; l == Study {
		return f, nil
	}
	own, err := decodeSet(r.seriesAttributes)
	if err != nil {
		return f, err
	}
	f.series, f.manifests = r.series, int(r.manifestsInSeries)
	f.instances = int(r.inSeries - superseded(r.manifestsInSeries, r.stands))
	f.attributes = merge(merge(dicom.DataSet{
		element(tagSeriesInstanceUID, "UI", r.series),
		element(tagInstancesInSeries, "IS", strconv.Itoa(f.instances)),
	}, own), r.ofStudy)
	return f, nil
}
