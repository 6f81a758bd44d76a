package index

import (
	"cmp"
	"context"
	"database/sql"
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
	// few: one study, or those of some patients. Nothing that takes long to
	// find out is worth it then.
	few bool
	// modality, when not empty, is walked instead of all studies; modalities
	// are those of which a study has to have one.
	modality   string
	modalities []string
	// begins are what columns have to begin with: see settleBegins.
	begins []begins
	// lookups are what is asked of names: see settlePlan, which makes names of
	// them, keys of which the studies that have one are walked instead of all.
	lookups []lookup
	names   []string
	settled bool
	// from and to bound StudyDate, when not empty.
	from, to string
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
		n.selective, n.few = true, true
	}
	if uid := m.query.SeriesInstanceUID; uid != "" && m.query.Level > Study {
		n.series(jsonList([]string{uid}))
	}
	switch l := m.query.Level; {
	case m.query.Superseded:
	case l == Study:
		n.and(shownStudies)
	case l == Series:
		n.and(shownSeries)
	}
	if m.patients != nil {
		n.patients(m.query.Patients)
	}
	for i := range m.conditions {
		c := &m.conditions[i]
		switch {
		case c.inside != nil:
		case c.tag == tagModalitiesInStudy || c.tag == tagModality:
			n.narrowModalities(c)
		default:
			n.condition(c)
		}
	}
	return n
}

// condition narrows by one condition, if there is a column for it.
func (n *narrow) condition(c *condition) {
	switch c.tag {
	case tagStudyInstanceUID:
		if u, ok := c.want.(uids); ok {
			n.and("s.uid IN (SELECT value FROM json_each(?))", jsonList(u.list()))
			n.selective, n.few = true, true
		}
	case tagSeriesInstanceUID:
		if u, ok := c.want.(uids); ok {
			n.series(jsonList(u.list()))
		}
	case tagPatientID:
		n.column("s.patient", c.want)
	case tagAccessionNumber:
		n.accession(c.want)
	case tagPatientName:
		n.name(c.want)
	case tagReferringPhysicianName:
		n.lookups = append(n.lookups, lookup{referring: c.want})
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
	n.selective, n.few = true, true
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
	n.selective, n.few = true, true
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
		n.selective, n.few = true, true
		return
	}
	n.begin(column, want)
}

// begin narrows a text column by what a wildcard begins with.
func (n *narrow) begin(column string, want matcher) {
	w, ok := want.(*wildcard)
	if !ok || !utf8.ValidString(w.prefix()) || w.prefix() == "" {
		return
	}
	n.begins = append(n.begins, begins{column, w.prefix()})
}

// begins is a text that a column begins with.
type begins struct{ column, with string }

// mostSorted is how many studies are found first and sorted then, where it is
// known how many there are: of more than so many a page is found sooner by
// walking them in the order of answers.
const mostSorted = 8192

// settleBegins finds out what columns that begin with something are good for.
func (x *Index) settleBegins(ctx context.Context, n *narrow) error {
	most := cmp.Or(x.sortMost, mostSorted)
	for _, b := range n.begins {
		name := b.column[strings.LastIndexByte(b.column, ' ')+1:]
		condition, args := b.column+" >= ? AND "+name+" < ?", []any{b.with, b.with + beyond}
		var studies int
		err := each(ctx, x.read, `SELECT count(*) FROM (SELECT 1 FROM study s WHERE `+condition+` LIMIT ?)`, append(args, most), func(rows *sql.Rows) error {
			return rows.Scan(&studies)
		})
		if err != nil {
			return err
		}
		n.selective = n.selective || studies < most
		switch {
		case name == "s.accession" && studies < most:
			n.andAccession("o.accession >= ? AND o.accession < ?", args[:2]...)
		case name == "s.accession":
			n.and("(+"+name+" >= ? AND +"+name+" < ? OR +"+name+" >= ? AND +"+name+" < ?)", b.with, b.with+beyond, several, several+beyond)
		case studies < most:
			n.and(condition, args[:2]...)
		default: // so that it is no reason not to walk
			n.and("+"+name+" >= ? AND +"+name+" < ?", args[:2]...)
		}
	}
	return nil
}

// beyond sorts after every text.
const beyond = "\U0010FFFF"

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

func columnTime(micros int64) string { return time.UnixMicro(micros).UTC().Format(columnLayout) }

// narrowModalities notes the modalities that a study must have one of.
// Modality is also compared in its series.
func (n *narrow) narrowModalities(c *condition) {
	values := texts(c.want)
	if values == nil {
		return
	}
	if c.tag == tagModality {
		n.and("e.modality IN (SELECT value FROM json_each(?))", jsonList(values))
	}
	if n.modalities == nil { // one of the two is enough to narrow by
		n.modalities = values
	}
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
	return sql + limited + " OFFSET ?", append(args, limit, skip)
}

// limited bounds the rows of a query. SQLite takes a parameter alone for a part
// of the plan, and prepares a statement anew when it has another value.
const limited = " LIMIT ? + 0"

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
