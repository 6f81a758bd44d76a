package index

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// narrow is the part of a query that SQL can decide by its indexes. It lets
// through at least what the Matcher does; values are always parameters.
type narrow struct {
	where []string
	args  []any
	// selective: few studies are expected, so they are found first and sorted
	// then. Otherwise studies are walked in the order of the answer.
	selective bool
	// modality, when not empty, is walked instead of all studies.
	modality string
}

func (n *narrow) and(sql string, args ...any) {
	n.where = append(n.where, sql)
	n.args = append(n.args, args...)
}

// narrowing makes the SQL conditions for a query. Tables are s for study and,
// unless the level is Study, e for series.
func (m *Matcher) narrowing() *narrow {
	n := &narrow{}
	if uid := m.query.StudyInstanceUID; uid != "" {
		n.and("s.uid = ?", uid)
		n.selective = true
	}
	if uid := m.query.SeriesInstanceUID; uid != "" && m.query.Level > Study {
		n.series(jsonList([]string{uid}))
	}
	if m.patients != nil {
		n.patients(m.query.Patients)
	}
	var modalities []string
	for i := range m.conditions {
		c := &m.conditions[i]
		switch {
		case len(c.path) > 1:
		case c.path[0] == tagModalitiesInStudy || c.path[0] == tagModality:
			modalities = n.modalities(c, modalities)
		default:
			n.condition(c)
		}
	}
	if !n.selective && len(modalities) == 1 {
		n.modality = modalities[0]
	} else if len(modalities) > 0 {
		n.and("EXISTS (SELECT 1 FROM modality o WHERE o.value IN (SELECT value FROM json_each(?)) AND o.date = s.date AND o.study = s.id)",
			jsonList(modalities))
	}
	return n
}

// condition narrows by one condition, if there is a column for it.
func (n *narrow) condition(c *condition) {
	switch c.path[0] {
	case tagStudyInstanceUID:
		if u, ok := c.want.(uids); ok {
			n.and("s.uid IN (SELECT value FROM json_each(?))", jsonList(u.list()))
			n.selective = true
		}
	case tagSeriesInstanceUID:
		if u, ok := c.want.(uids); ok {
			n.series(jsonList(u.list()))
		}
	case tagPatientID:
		n.column("s.patient", c.want)
	case tagAccessionNumber:
		n.column("s.accession <> '' AND s.accession", c.want)
	case tagPatientName:
		n.name(c.want)
	case tagStudyDate:
		n.date(c.want)
	}
}

// patients narrows to the studies of these patients.
func (n *narrow) patients(keys []PatientKey) {
	pairs := make([][2]string, len(keys))
	for i, k := range keys {
		pairs[i] = [2]string{k.PatientID, k.Issuer}
	}
	n.and(`s.id IN (SELECT o.id FROM json_each(?) j JOIN study o ON o.patient = j.value ->> 0 AND o.issuer = j.value ->> 1)`, jsonList(pairs))
	n.selective = true
}

func jsonList[T any](values []T) string {
	b, err := json.Marshal(values)
	if err != nil {
		return "[]" // strings cannot fail
	}
	return string(b)
}

func (n *narrow) series(list string) {
	n.and("s.id IN (SELECT o.study FROM series o WHERE o.uid IN (SELECT value FROM json_each(?)))", list)
	n.and("e.uid IN (SELECT value FROM json_each(?))", list)
	n.selective = true
}

// texts are the values that a matcher accepts, when it is one that accepts
// values as they are.
func texts(want matcher) []string {
	switch w := want.(type) {
	case text:
		return []string{string(w)}
	case anyOf:
		var all []string
		for _, m := range w {
			t, ok := m.(text)
			if !ok {
				return nil
			}
			all = append(all, string(t))
		}
		return all
	}
	return nil
}

// column narrows a text column by value, or by what a wildcard begins with.
func (n *narrow) column(column string, want matcher) {
	if values := texts(want); values != nil {
		n.and(column+" IN (SELECT value FROM json_each(?))", jsonList(values))
		n.selective = true
		return
	}
	w, ok := want.(*wildcard)
	if !ok || !utf8.ValidString(w.prefix()) || w.prefix() == "" {
		return
	}
	name := column[strings.LastIndexByte(column, ' ')+1:]
	n.and(column+" >= ? AND "+name+" < ?", w.prefix(), w.prefix()+beyond)
	n.selective = true
}

// beyond sorts after every text.
const beyond = "\U0010FFFF"

func (n *narrow) name(want matcher) {
	switch w := want.(type) {
	case name:
		for _, g := range w.groups {
			if g != nil {
				n.group(g)
			}
		}
	case words:
		for _, word := range w {
			n.prefix(word)
		}
	}
}

func (n *narrow) group(want matcher) {
	switch w := want.(type) {
	case text:
		n.and("s.id IN (SELECT o.study FROM name o WHERE o.folded = ?)", string(w))
		n.selective = true
	case *wildcard:
		if w.prefix() != "" {
			n.prefix(w.prefix())
		} else if literal := w.literal(); literal != "" {
			n.and("s.id IN (SELECT o.study FROM name o WHERE instr(o.folded, ?) > 0)", literal)
			n.selective = true
		}
	}
}

func (n *narrow) prefix(p string) {
	if !utf8.ValidString(p) {
		return
	}
	n.and("s.id IN (SELECT o.study FROM name o WHERE o.folded >= ? AND o.folded < ?)", p, p+beyond)
	n.selective = true
}

// date narrows by StudyDate. The column is walked in order when nothing else
// is selective.
func (n *narrow) date(want matcher) {
	r, ok := want.(wantRange)
	if !ok {
		return
	}
	if r.span.from > beginning {
		n.and("s.date >= ?", columnTime(r.span.from))
	} else {
		n.and("s.date > ''")
	}
	if r.span.to < end {
		n.and("s.date <= ?", columnTime(r.span.to))
	}
}

func columnTime(micros int64) string { return time.UnixMicro(micros).UTC().Format("20060102") }

// modalities gathers the modalities that a study must have one of. Modality
// is also compared in its series.
func (n *narrow) modalities(c *condition, before []string) []string {
	values := texts(c.want)
	if values == nil {
		return before
	}
	if c.path[0] == tagModality {
		n.and("e.modality IN (SELECT value FROM json_each(?))", jsonList(values))
	}
	if before != nil {
		return before // one of the two is enough to narrow by
	}
	return values
}

// cursor is the place in the order of answers after which to go on.
type cursor struct {
	set                 bool
	date, study, series string
}

// start is where the answers begin.
func (q Query) start() cursor {
	if q.After == nil {
		return cursor{}
	}
	return cursor{true, q.After.StudyDate, q.After.StudyInstanceUID, q.After.SeriesInstanceUID}
}

// ids is the SQL that yields the ids of the next candidates at the level.
func (n *narrow) ids(l Level, after cursor, limit, skip int) (string, []any) {
	var b strings.Builder
	args := slices.Clone(n.args)
	date, uid := "s.date", "s.uid"
	id, from := "s.id", "study s"
	if n.modality != "" {
		date, from = "m.date", "modality m CROSS JOIN study s ON s.id = m.study"
	} else if n.selective {
		date = "+s.date" // so that it is no reason to walk the order
	}
	order := date + " DESC, " + uid
	if l > Study {
		id, from = "e.id", from+" CROSS JOIN series e ON e.study = s.id"
		order += ", e.uid"
	}
	b.WriteString("SELECT " + id + " FROM " + from + " WHERE 1")
	for _, w := range n.where {
		if date != "s.date" {
			w = strings.ReplaceAll(w, "s.date", date)
		}
		b.WriteString(" AND " + w)
	}
	if n.modality != "" {
		b.WriteString(" AND m.value = ?")
		args = append(args, n.modality)
	}
	if after.set {
		b.WriteString(" AND " + date + " <= ? AND (" + date + " < ? OR " + uid + " > ?")
		args = append(args, after.date, after.date, after.study)
		if l > Study {
			b.WriteString(" OR " + uid + " = ? AND e.uid > ?")
			args = append(args, after.study, after.series)
		}
		b.WriteString(")")
	}
	b.WriteString(" ORDER BY " + order + " LIMIT ? OFFSET ?")
	return b.String(), append(args, limit, skip)
}
