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
	// names are keys in the table of names: those of the studies that have one
	// of them are walked instead of all. family, when not empty, is what their
	// family names begin with: see families.
	names  []string
	family string
	// spans are what more is asked of names.
	spans []keySpan
	// from and to bound StudyDate, when not empty.
	from, to string
}

// keySpan is the keys of the table of names from one up to another, or with a
// text in them.
type keySpan struct{ from, below, part string }

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
	n.settleNames()
	if !n.selective && len(n.names) == 0 && n.family == "" && len(modalities) == 1 {
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
		n.walkOrSpan(string(w))
	case *wildcard:
		switch family, rest, whole := strings.Cut(w.prefix(), "^"); {
		case w.prefix() == "":
			if literal := w.literal(); literal != "" {
				n.spans = append(n.spans, keySpan{part: literal})
			}
		case rest != "":
			n.prefix(w.prefix())
		case whole:
			n.walkOrSpan(familyKey(family))
		case len(n.names) == 0 && n.family == "" && utf8.ValidString(family):
			n.family = family
		default:
			n.prefix(familyKey(family))
		}
	}
}

// walkOrSpan narrows to the studies that have one key: the first is walked.
func (n *narrow) walkOrSpan(key string) {
	switch {
	case len(n.names) > 0:
		n.spans = append(n.spans, keySpan{from: key, below: key + "\x00"})
	case n.family != "":
		n.prefix(familyKey(n.family)) // the one that is whole finds fewer
		n.family = ""
		fallthrough
	default:
		n.names = []string{key}
	}
}

func (n *narrow) prefix(p string) {
	if utf8.ValidString(p) {
		n.spans = append(n.spans, keySpan{from: p, below: p + beyond})
	}
}

// settleNames makes SQL of what is asked of names, when all else is known:
// where few studies are expected anyhow, no name is walked.
func (n *narrow) settleNames() {
	if n.selective {
		for _, key := range n.names {
			n.spans = append(n.spans, keySpan{from: key, below: key + "\x00"})
		}
		if n.family != "" {
			n.prefix(familyKey(n.family))
		}
		n.names, n.family = nil, ""
	}
	for _, sp := range n.spans {
		n.span(sp)
	}
}

// span narrows by the table of names alone, dates included: a study is looked
// up only when it is found there.
func (n *narrow) span(sp keySpan) {
	sql, args := "o.folded >= ? AND o.folded < ?", []any{sp.from, sp.below}
	if sp.part != "" {
		sql, args = "instr(o.folded, ?) > 0", []any{sp.part}
	}
	if n.from != "" {
		sql, args = sql+" AND o.date >= ?", append(args, n.from)
	}
	if n.to != "" {
		sql, args = sql+" AND o.date <= ?", append(args, n.to)
	}
	n.and("s.id IN (SELECT o.study FROM name o WHERE "+sql+")", args...)
	n.selective = n.selective || len(n.names) == 0
}

// date narrows by StudyDate. The column is walked in order when nothing else
// is selective.
func (n *narrow) date(want matcher) {
	r, ok := want.(wantRange)
	if !ok {
		return
	}
	if r.span.from > beginning {
		n.from = max(n.from, columnTime(r.span.from))
		n.and("s.date >= ?", columnTime(r.span.from))
	} else {
		n.and("s.date > ''")
	}
	if r.span.to < end {
		n.to = columnTime(r.span.to) // of several keys any will do
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
	w := walk{id: "s.id", date: "s.date", from: "study s"}
	switch {
	case len(n.names) > 0:
		return n.byNames(l, after, limit, skip)
	case n.modality != "":
		w.date, w.from, w.and, w.args = "m.date", "modality m CROSS JOIN study s ON s.id = m.study", " AND m.value = ?", []any{n.modality}
	case n.selective:
		w.date = "+s.date" // so that it is no reason to walk the order
	}
	sql, args := n.walked(w, l, after)
	return sql + " LIMIT ? OFFSET ?", append(args, limit, skip)
}

// byNames walks the studies of each name, as many as are wanted in all.
func (n *narrow) byNames(l Level, after cursor, limit, skip int) (string, []any) {
	w := walk{id: "s.id AS id, o.date AS date, s.uid AS study, '' AS series", date: "o.date",
		from: "name o CROSS JOIN study s ON s.id = o.study", and: " AND o.folded = ?"}
	if l > Study {
		w.id = "e.id AS id, o.date AS date, s.uid AS study, e.uid AS series"
	}
	var arms []string
	var all []any
	for _, key := range n.names {
		w.args = []any{key}
		sql, args := n.walked(w, l, after)
		arms = append(arms, "SELECT * FROM ("+sql+" LIMIT ?)")
		all = append(append(all, args...), limit+skip)
	}
	return "SELECT id FROM (" + strings.Join(arms, " UNION ") + ") ORDER BY date DESC, study, series LIMIT ? OFFSET ?", append(all, limit, skip)
}

// walk is how candidates are come by: what is selected, from where, by which
// column of dates, and on which condition more.
type walk struct {
	id, date, from, and string
	args                []any // of and
}

// walked is the SQL of a walk in the order of answers, from after a place on.
func (n *narrow) walked(w walk, l Level, after cursor) (string, []any) {
	var b strings.Builder
	args := slices.Clone(n.args)
	date, uid := w.date, "s.uid"
	order := date + " DESC, " + uid
	if l > Study {
		if w.id == "s.id" {
			w.id = "e.id"
		}
		w.from += " CROSS JOIN series e ON e.study = s.id"
		order += ", e.uid"
	}
	b.WriteString("SELECT " + w.id + " FROM " + w.from + " WHERE 1")
	for _, w := range n.where {
		if date != "s.date" {
			w = strings.ReplaceAll(w, "s.date", date)
		}
		b.WriteString(" AND " + w)
	}
	b.WriteString(w.and)
	args = append(args, w.args...)
	if after.set {
		b.WriteString(" AND " + date + " <= ? AND (" + date + " < ? OR " + uid + " > ?")
		args = append(args, after.date, after.date, after.study)
		if l > Study {
			b.WriteString(" OR " + uid + " = ? AND e.uid > ?")
			args = append(args, after.study, after.series)
		}
		b.WriteString(")")
	}
	b.WriteString(" ORDER BY " + order)
	return b.String(), args
}
