package index

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"

	"github.com/esante-alsace/cigogne/storage/dicom"
)

// maxInStudy bounds ModalitiesInStudy and SOPClassesInStudy: those beyond are
// not listed.
const maxInStudy = 64

// study is a row of study while a batch is applied.
type study struct {
	id                  int64
	uid                 string
	date                string
	patient, issuer     string
	modalities, classes []string
	series, instances   int64
	manifests           int64 // of the instances, the gateway's own
	attributes          dicom.DataSet
	received            int64 // the earliest

	dirty bool
	// stored is what the row, modality and name hold now.
	stored struct {
		date       string
		modalities []string
		names      studyNames
	}
}

// series is a row of series while a batch is applied.
type series struct {
	id         int64
	study      *study
	uid        string
	modality   string
	instances  int64
	manifests  int64 // of them the gateway's own
	unplanned  int64
	bytes      int64
	newest     int64
	attributes dicom.DataSet
	classes    []string
	dirty      bool
}

// loadStudy reads a study, or makes a new one, which is written only when it
// gets an instance.
func (c *change) loadStudy(ctx context.Context, uid string) (*study, error) {
	if s, ok := c.studies[uid]; ok {
		return s, nil
	}
	s := &study{uid: uid}
	var modalities, classes string
	var attributes []byte
	err := c.study.QueryRowContext(ctx, uid).Scan(&s.id, &s.date, &s.patient, &s.issuer,
		&modalities, &classes, &s.series, &s.instances, &attributes, &s.received, &s.manifests)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		c.lastStudy++
		s.id = c.lastStudy
		c.packed[uid] = nil // and so it has no packs
	case err != nil:
		return nil, err
	default:
		if s.attributes, err = decodeSet(attributes); err != nil {
			return nil, err
		}
		s.modalities, s.classes = splitList(modalities), splitList(classes)
		s.stored.date, s.stored.names = s.date, namesOf(s.attributes)
		s.stored.modalities = slices.Clone(s.modalities)
	}
	c.studies[uid] = s
	c.touched = append(c.touched, s)
	return s, nil
}

func (c *change) loadSeries(ctx context.Context, s *study, uid string) (*series, error) {
	key := [2]string{s.uid, uid}
	if e, ok := c.series[key]; ok {
		return e, nil
	}
	e := &series{study: s, uid: uid}
	var attributes []byte
	var classes string
	err := c.statements.series.QueryRowContext(ctx, s.id, uid).Scan(&e.id, &e.modality, &e.instances,
		&e.unplanned, &e.bytes, &e.newest, &attributes, &classes, &e.manifests)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		c.lastSeries++
		e.id = c.lastSeries
	case err != nil:
		return nil, err
	default:
		if e.attributes, err = decodeSet(attributes); err != nil {
			return nil, err
		}
		e.classes = splitList(classes)
	}
	c.series[key] = e
	c.order = append(c.order, e)
	return e, nil
}

// count adds an instance to its series and study.
func (e *series) count(in *Instance) {
	if e.instances == 0 {
		e.study.series++
	}
	e.instances++
	e.study.instances++
	if in.isManifest() {
		e.manifests++
		e.study.manifests++
	}
	e.newest = max(e.newest, in.Received)
	if e.study.received == 0 || in.Received < e.study.received {
		e.study.received = in.Received
	}
	e.dirty, e.study.dirty = true, true
}

// describe takes from an instance what its series and study do not have yet:
// first come stands, what is missing is filled. A manifest says nothing of its
// study: the patient has another name there.
func (e *series) describe(in *Instance) {
	s, ds, class := e.study, in.Attributes, in.SOPClassUID
	first := len(s.attributes) == 0
	var filled bool
	if in.isManifest() {
		first = false
	} else {
		s.attributes, filled = fill(s.attributes, s.takeIssuer(ds), Study)
	}
	if filled || first {
		p := PatientOf(s.attributes)
		s.patient, s.issuer = p.PatientID, p.Issuer
		s.date = columnDate(value(s.attributes, tagStudyDate))
	}
	if e.attributes, filled = fill(e.attributes, ds, Series); filled {
		e.modality = value(e.attributes, tagModality)
	}
	s.modalities = addTo(s.modalities, e.modality)
	s.classes = addTo(s.classes, class)
	e.classes = addTo(e.classes, class)
}

// fill adds to have what it lacks of the level and ds has.
func fill(have, ds dicom.DataSet, l Level) (dicom.DataSet, bool) {
	var missing dicom.DataSet
	for i := range ds {
		e := &ds[i]
		if isOf(e.Tag, l) && e.Bulk == nil && !blank(e) && find(have, e.Tag) == nil {
			missing = append(missing, *e)
		}
	}
	if missing == nil {
		return have, false
	}
	return merge(have, missing), true
}

// columnDate is a StudyDate as YYYYMMDD, or "".
func columnDate(da string) string {
	if _, ok := parseDA(da); !ok {
		return ""
	}
	return strings.ReplaceAll(da, ".", "")
}

// addTo keeps a short list sorted and without doubles.
func addTo(list []string, v string) []string {
	if v == "" || len(list) >= maxInStudy {
		return list
	}
	i, found := slices.BinarySearch(list, v)
	if found {
		return list
	}
	return slices.Insert(slices.Clone(list), i, v)
}

func splitList(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, `\`)
}

// flush writes what the batch changed.
func (c *change) flush(ctx context.Context) error {
	for _, e := range c.order {
		if !e.dirty {
			continue
		}
		attributes, err := c.codec.encodeSet(e.attributes)
		if err != nil {
			return err
		}
		if _, err := c.putSeries.ExecContext(ctx, e.id, e.study.id, e.uid, e.modality, e.instances,
			e.unplanned, e.bytes, e.newest, attributes, strings.Join(e.classes, `\`), e.manifests); err != nil {
			return err
		}
	}
	for _, s := range c.touched {
		if s.dirty {
			if err := c.flushStudy(ctx, s); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *change) flushStudy(ctx context.Context, s *study) error {
	attributes, err := c.codec.encodeSet(s.attributes)
	if err != nil {
		return err
	}
	if _, err := c.putStudy.ExecContext(ctx, s.id, s.uid, s.date, s.patient, s.issuer,
		columnAccession(s.attributes), strings.Join(s.modalities, `\`), strings.Join(s.classes, `\`),
		s.series, s.instances, attributes, s.received, s.manifests); err != nil {
		return err
	}
	if err := c.flushModalities(ctx, s); err != nil {
		return err
	}
	return c.flushNames(ctx, s)
}

func (c *change) flushModalities(ctx context.Context, s *study) error {
	if s.date != s.stored.date {
		for _, m := range s.stored.modalities {
			if _, err := c.dropModality.ExecContext(ctx, m, s.stored.date, s.id); err != nil {
				return err
			}
		}
		s.stored.modalities = nil
	}
	for _, m := range s.modalities {
		if slices.Contains(s.stored.modalities, m) {
			continue
		}
		if _, err := c.putModality.ExecContext(ctx, m, s.date, s.id); err != nil {
			return err
		}
	}
	return nil
}
