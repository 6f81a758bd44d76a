package index

import (
	"fmt"
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

// condition is a Condition made ready.
type condition struct {
	path []dicom.Tag
	// want is what values must be; nil matches everything.
	want matcher
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
		m.conditions = append(m.conditions, condition{c.Path, want})
	}
	return nil
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
		c := &m.conditions[i]
		if !holds(ds, c.path, c.want) {
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
		if m.known[c.path[0]].level <= level && !holds(ds, c.path, c.want) {
			return false
		}
	}
	return true
}

// Selective tells whether there are conditions on attributes of instances: if
// not, every instance of a series from Images is an answer.
func (m *Matcher) Selective() bool {
	for i := range m.conditions {
		if m.known[m.conditions[i].path[0]].level == Image {
			return true
		}
	}
	return false
}

// holds tells whether any value under the path is wanted: of an attribute
// with several values, and of a sequence with several items, one is enough.
func holds(ds dicom.DataSet, path []dicom.Tag, want matcher) bool {
	e := find(ds, path[0])
	if e == nil {
		return false
	}
	if len(path) > 1 {
		for _, item := range e.Items {
			if holds(item, path[1:], want) {
				return true
			}
		}
		return false
	}
	if namesPatient(path[0]) && len(e.Values) > 0 {
		return want.match(whole(ds, path[0]))
	}
	for _, v := range e.Values {
		if want.match(strings.Trim(v, " \x00")) {
			return true
		}
	}
	return false
}
