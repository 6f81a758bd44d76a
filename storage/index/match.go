package index

import (
	"fmt"
	"slices"
	"strings"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

// Bounds of a query.
const (
	maxConditions = 64
	maxPath       = 4
	maxValueBytes = 1024     // of a value that is not a list of UID
	maxListBytes  = 64 << 16 // of a list of UID: some 60,000
	maxPatients   = 4096
)

// Matcher is a query made ready: it decides which Data Sets are answers, and
// what of them is returned. It is the one place where matching is decided, for
// what lies in the index and for the metadata of packs. It is safe for use by
// many goroutines.
type Matcher struct {
	query      Query
	patients   map[PatientKey]bool // nil for all
	conditions []condition
	ignored    []Condition
	returned   []returned
	known      map[dicom.Tag]attribute
}

// condition is a Condition made ready: on values, or on one item of a sequence
// all those that there are inside it.
type condition struct {
	tag    dicom.Tag
	want   matcher
	inside []condition
}

// matcher decides about one value.
type matcher interface{ match(value string) bool }

// Compile makes a query ready. Nonsense and what is beyond the bounds is
// storage.ErrInvalid.
func Compile(q Query) (*Matcher, error) {
	if q.Level < Study || q.Level > Image {
		return nil, fmt.Errorf("%w: query level %d", storage.ErrInvalid, q.Level)
	}
	if q.Limit < 0 || q.Offset < 0 {
		return nil, fmt.Errorf("%w: a negative limit or offset", storage.ErrInvalid)
	}
	if len(q.Match) > maxConditions {
		return nil, fmt.Errorf("%w: more than %d matching keys", storage.ErrInvalid, maxConditions)
	}
	for _, uid := range []string{q.StudyInstanceUID, q.SeriesInstanceUID} {
		if uid != "" && !storage.ValidUID(uid) {
			return nil, fmt.Errorf("%w: %q is not a UID", storage.ErrInvalid, clip(uid))
		}
	}
	m := &Matcher{query: q, known: dictionary()}
	if len(q.Patients) > maxPatients {
		return nil, fmt.Errorf("%w: more than %d patients", storage.ErrInvalid, maxPatients)
	}
	if q.Patients != nil {
		m.patients = make(map[PatientKey]bool, len(q.Patients))
		for _, p := range q.Patients {
			m.patients[p] = true
		}
	}
	for _, c := range q.Match {
		if err := m.add(c); err != nil {
			return nil, err
		}
	}
	m.returned = m.returnSet()
	return m, nil
}

func (m *Matcher) add(c Condition) error {
	if len(c.Path) == 0 || len(c.Path) > maxPath {
		return fmt.Errorf("%w: a matching key of %d tags", storage.ErrInvalid, len(c.Path))
	}
	root, ok := m.known[c.Path[0]]
	if !ok || root.level > m.query.Level || (root.vr == "SQ") != (len(c.Path) > 1) && c.Value != "" {
		m.ignored = append(m.ignored, c)
		return nil
	}
	vr := root.vr
	if len(c.Path) > 1 {
		vr = c.Path[len(c.Path)-1].VR()
	}
	want, err := m.want(vr, c.Value)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Path[len(c.Path)-1], err)
	}
	if want != nil {
		m.conditions = nested(m.conditions, c.Path, want)
	}
	return nil
}

// nested adds a condition to those that are there: keys inside a sequence are
// those of one item of it (PS3.4 §C.2.2.2.6).
func nested(all []condition, path []dicom.Tag, want matcher) []condition {
	if len(path) == 1 {
		return append(all, condition{tag: path[0], want: want})
	}
	for i := range all {
		if all[i].tag == path[0] && all[i].inside != nil {
			all[i].inside = nested(all[i].inside, path[1:], want)
			return all
		}
	}
	return append(all, condition{tag: path[0], inside: nested(nil, path[1:], want)})
}

// want chooses the kind of matching by VR and value (PS3.4 §C.2.2.2); nil is
// universal matching.
func (m *Matcher) want(vr dicom.VR, value string) (matcher, error) {
	most := maxValueBytes
	if vr == "UI" {
		most = maxListBytes
	}
	if len(value) > most {
		return nil, fmt.Errorf("%w: a matching key of %d bytes", storage.ErrInvalid, len(value))
	}
	value = strings.Trim(value, " \x00")
	if strings.Trim(value, "*") == "" {
		return nil, nil //nolint:nilnil // universal matching is no matcher
	}
	switch vr {
	case "UI":
		return wantUIDs(value)
	case "DA", "TM", "DT":
		r, err := parseRange(vr, value)
		return wantRange{vr, r}, err
	case "PN":
		return wantName(value, m.query.Fuzzy), nil
	case "LT", "ST", "UT", "UR":
		return wantText(value), nil
	case "CS":
		// A comma cannot be in a CS: DICOMweb clients part values by it.
		return eachOf(strings.ReplaceAll(value, ",", `\`), wantText), nil
	case "IS", "DS", "US", "SS", "UL", "SL", "UV", "SV", "FL", "FD":
		return eachOf(value, wantNumber), nil
	default:
		return eachOf(value, wantText), nil
	}
}

// Query is the question that was compiled.
func (m *Matcher) Query() Query { return m.query }

// Ignored lists the conditions on attributes that are not known at the level.
// They are not applied; a transport may say so.
func (m *Matcher) Ignored() []Condition { return m.ignored }

// Matches tells whether ds, with the attributes of its level and of the
// levels above, is an answer. It does not look at the resource that the query
// is asked under.
func (m *Matcher) Matches(ds dicom.DataSet) bool {
	if m.patients != nil && !m.patients[PatientOf(ds)] {
		return false
	}
	for i := range m.conditions {
		if !m.conditions[i].holds(ds) {
			return false
		}
	}
	return true
}

// matchesLevel is Matches for the conditions on attributes of that level and
// above alone.
func (m *Matcher) matchesLevel(ds dicom.DataSet, level Level) bool {
	if m.patients != nil && !m.patients[PatientOf(ds)] {
		return false
	}
	for i := range m.conditions {
		c := &m.conditions[i]
		if m.known[c.tag].level <= level && !c.holds(ds) {
			return false
		}
	}
	return true
}

// Selective tells whether there are conditions on attributes of instances: if
// not, every instance of a series from Images is an answer.
func (m *Matcher) Selective() bool {
	for i := range m.conditions {
		if m.known[m.conditions[i].tag].level == Image {
			return true
		}
	}
	return false
}

// holds tells whether any value is wanted: of an attribute with several, and of
// a sequence with several items, one is enough.
func (c *condition) holds(ds dicom.DataSet) bool {
	e := find(ds, c.tag)
	switch {
	case e == nil:
		return false
	case c.inside != nil:
		return slices.ContainsFunc(e.Items, c.holdsIn)
	case namesPatient(c.tag) && len(e.Values) > 0:
		return c.want.match(whole(ds, c.tag))
	}
	for _, v := range e.Values {
		if c.want.match(strings.Trim(v, " \x00")) {
			return true
		}
	}
	return false
}

// holdsIn tells whether all that is inside holds in one item.
func (c *condition) holdsIn(item dicom.DataSet) bool {
	for i := range c.inside {
		if !c.inside[i].holds(item) {
			return false
		}
	}
	return true
}
