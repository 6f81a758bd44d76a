package indextest

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
)

// Model is the index as one would write it on a napkin: everything in memory,
// every instance for ever, every question answered by looking at all. It knows
// received instances, plans, archived packs and deletions, but no attributes
// that are filled in later.
type Model struct {
	byName    map[string]*index.Instance // SOPInstanceUID
	aside     map[string]bool            // SOPInstanceUID and Digest
	studies   map[string][]*index.Instance
	watermark map[index.JournalID]index.Position
	at        map[string]*index.Instance // SOPInstanceUID and Digest: what was never archived
	plans     map[string]index.Plan
	owner     map[index.JournalID]string
	retired   map[index.JournalID]bool
	issuers   map[string]storage.Issuer    // of each study's patient
	deleted   map[string][]*index.Instance // by deletion, as long as it can be undone
	left      map[string]*index.Instance   // where those lay that were never archived, as at has it
	leftOf    map[string]storage.Issuer    // by deletion, the issuer of its study
	people    identities
}

// NewModel is an empty Model.
func NewModel() *Model {
	return &Model{byName: map[string]*index.Instance{}, aside: map[string]bool{}, studies: map[string][]*index.Instance{},
		watermark: map[index.JournalID]index.Position{}, at: map[string]*index.Instance{},
		plans: map[string]index.Plan{}, owner: map[index.JournalID]string{}, retired: map[index.JournalID]bool{},
		issuers: map[string]storage.Issuer{},
		deleted: map[string][]*index.Instance{}, left: map[string]*index.Instance{}, leftOf: map[string]storage.Issuer{},
		people: identities{links: map[index.PatientKey]index.IdentityChange{}, open: map[string]bool{}}}
}

// Receive applies the received instances of a batch, and tells what they are.
func (m *Model) Receive(b index.Batch) []index.Outcome {
	m.people.apply(b.Identities)
	for _, j := range b.Journals {
		m.change(j)
	}
	if to := b.Through; to != (index.Position{}) {
		at := m.watermark[to.Journal]
		if m.retired[to.Journal] || to.Segment < at.Segment || to.Segment == at.Segment && to.Offset <= at.Offset {
			return nil
		}
		m.watermark[to.Journal] = to
	}
	out := make([]index.Outcome, len(b.Received))
	for i := range b.Received {
		out[i] = m.receive(&b.Received[i])
	}
	return out
}

func (m *Model) change(j index.JournalChange) {
	if j.Node != "" {
		for other, node := range m.owner {
			if node == j.Node && other != j.Journal {
				m.retired[other] = true
			}
		}
		m.owner[j.Journal] = j.Node
	}
	if j.Retired {
		m.retired[j.Journal] = true
	}
}

// Plan remembers what a pack will hold.
func (m *Model) Plan(p index.Plan) { m.plans[p.PackID] = p }

// Archive forgets where the instances of a planned pack lay.
func (m *Model) Archive(packID string) {
	p := m.plans[packID]
	for i, sop := range p.SOPs {
		delete(m.at, sop+p.Members[i].String())
	}
}

// Lying is where the instances in a journal lie, by SOPInstanceUID and Digest.
func (m *Model) Lying(id index.JournalID) map[string]index.Position {
	all := map[string]index.Position{}
	for name, in := range m.at {
		if in.At.Journal == id {
			all[name] = in.At
		}
	}
	return all
}

func (m *Model) receive(in *index.Instance) index.Outcome {
	name := in.Key.SOPInstanceUID + in.Digest.String()
	if lies := m.at[name]; lies != nil && m.retired[lies.At.Journal] && lies.Size == in.Size && lies.CRC32 == in.CRC32 {
		m.at[name] = in
		return index.Outcome{Standing: index.StandingDuplicate}
	}
	held := m.byName[in.Key.SOPInstanceUID]
	if m.aside[name] || held != nil && held.Digest == in.Digest {
		return index.Outcome{Standing: index.StandingDuplicate}
	}
	why := index.WhyNone
	study := m.studies[in.Key.StudyInstanceUID]
	if held != nil {
		why = index.WhyDigest
	}
	if len(study) > 0 && m.otherPatient(study[0], in, index.IssuerOf(in.Attributes)) {
		why = index.WhyPatient
	}
	if why != index.WhyNone {
		m.aside[name] = true
		m.at[name] = in
		return index.Outcome{Standing: index.StandingConflict, Why: why}
	}
	m.byName[in.Key.SOPInstanceUID] = in
	m.at[name] = in
	m.studies[in.Key.StudyInstanceUID] = append(study, in)
	m.takeIssuer(in, index.IssuerOf(in.Attributes))
	return index.Outcome{Standing: index.StandingNew}
}

func (m *Model) otherPatient(first, in *index.Instance, says storage.Issuer) bool {
	has := m.issuers[in.Key.StudyInstanceUID]
	return of(first.Attributes, 0x00100020) != of(in.Attributes, 0x00100020) || stated(has) && stated(says) && has != says
}

func (m *Model) takeIssuer(in *index.Instance, says storage.Issuer) {
	has := m.issuers[in.Key.StudyInstanceUID]
	if says.Key() != "" && !stated(has) && (stated(says) || has.Key() == "") {
		m.issuers[in.Key.StudyInstanceUID] = says
	}
}

// stated tells whether somebody said who the issuer is.
func stated(is storage.Issuer) bool {
	return is.Key() != "" && !strings.HasPrefix(is.Name, storage.AssumedIssuer)
}

// Delete takes a study, or a series of it, out of sight.
func (m *Model) Delete(id, study, series string) {
	var left []*index.Instance
	for _, in := range m.studies[study] {
		if series == "" || in.Key.SeriesInstanceUID == series {
			m.deleted[id] = append(m.deleted[id], in)
			delete(m.byName, in.Key.SOPInstanceUID)
			name := in.Key.SOPInstanceUID + in.Digest.String()
			if at, ok := m.at[name]; ok {
				m.left[id+name] = at
				delete(m.at, name)
			}
		} else {
			left = append(left, in)
		}
	}
	m.leftOf[id] = m.issuers[study]
	if m.studies[study] = left; left == nil {
		delete(m.studies, study)
		delete(m.issuers, study)
	}
}

// Undo puts back what a deletion took, unless some of it has come again; it
// tells whether it did.
func (m *Model) Undo(id string) bool {
	back := m.deleted[id]
	for _, in := range back {
		if m.aside[in.Key.SOPInstanceUID+in.Digest.String()] || m.byName[in.Key.SOPInstanceUID] != nil {
			return false
		}
		for _, there := range m.studies[in.Key.StudyInstanceUID] {
			if there.Key.SeriesInstanceUID == in.Key.SeriesInstanceUID || m.otherPatient(there, in, m.leftOf[id]) {
				return false
			}
		}
	}
	for _, in := range back {
		m.byName[in.Key.SOPInstanceUID] = in
		m.studies[in.Key.StudyInstanceUID] = append(m.studies[in.Key.StudyInstanceUID], in)
		name := in.Key.SOPInstanceUID + in.Digest.String()
		if at, ok := m.left[id+name]; ok {
			m.at[name] = at
		}
		m.takeIssuer(in, m.leftOf[id])
	}
	m.Remove(id)
	return len(back) > 0
}

// Remove ends the time in which a deletion can be undone.
func (m *Model) Remove(id string) {
	for _, in := range m.deleted[id] {
		delete(m.left, id+in.Key.SOPInstanceUID+in.Digest.String())
	}
	delete(m.deleted, id)
}

// InUse is the segments of a journal in which something lies, or would after
// an undo.
func (m *Model) InUse(id index.JournalID) map[uint64]bool {
	used := map[uint64]bool{}
	for _, lying := range []map[string]*index.Instance{m.at, m.left} {
		for _, in := range lying {
			if in.At.Journal == id {
				used[in.At.Segment] = true
			}
		}
	}
	return used
}

// Conflicts is how many instances are kept aside.
func (m *Model) Conflicts() int { return len(m.aside) }

// Search answers at the Study and Series levels with the Matcher alone.
func (m *Model) Search(q index.Query) ([]dicom.DataSet, error) {
	matcher, err := index.Compile(q)
	if err != nil {
		return nil, err
	}
	var all []dicom.DataSet
	for _, in := range m.studies {
		if q.StudyInstanceUID == "" || in[0].Key.StudyInstanceUID == q.StudyInstanceUID {
			for _, ds := range candidates(q.Level, in) {
				ds = ds.Without(0x00100021, 0x00100024)
				if is := m.issuers[in[0].Key.StudyInstanceUID]; is.Name != "" {
					ds = ds.With(text(0x00100021, "LO", is.Name))
				}
				all = append(all, m.identified(ds))
			}
		}
	}
	slices.SortFunc(all, func(a, b dicom.DataSet) int {
		return cmp.Or(cmp.Compare(of(b, 0x00080020), of(a, 0x00080020)),
			cmp.Compare(of(a, 0x0020000D), of(b, 0x0020000D)), cmp.Compare(of(a, 0x0020000E), of(b, 0x0020000E)))
	})
	var out []dicom.DataSet
	skip := q.Offset
	for _, ds := range all {
		if !matcher.Matches(ds) {
			continue
		}
		if skip--; skip < 0 && (q.Limit == 0 || len(out) < q.Limit) {
			out = append(out, matcher.Answer(ds))
		}
	}
	return out, nil
}

// candidates are the study, or its series, as Data Sets with their counts.
func candidates(l index.Level, in []*index.Instance) []dicom.DataSet {
	series := map[string][]*index.Instance{}
	var modalities, classes []string
	for _, i := range in {
		series[i.Key.SeriesInstanceUID] = append(series[i.Key.SeriesInstanceUID], i)
		modalities = append(modalities, of(i.Attributes, 0x00080060))
		classes = append(classes, i.SOPClassUID)
	}
	counts := union(dicom.DataSet{
		{Tag: 0x00080061, VR: "CS", Values: unique(modalities)},
		{Tag: 0x00080062, VR: "UI", Values: unique(classes)},
		text(0x00201206, "IS", strconv.Itoa(len(series))),
		text(0x00201208, "IS", strconv.Itoa(len(in))),
	}, upTo(index.Study, in[0].Attributes))
	if l == index.Study {
		return []dicom.DataSet{counts}
	}
	var out []dicom.DataSet
	for _, of := range series {
		out = append(out, union(union(counts, dicom.DataSet{text(0x00201209, "IS", strconv.Itoa(len(of)))}), upTo(index.Series, of[0].Attributes)))
	}
	return out
}

// upTo is the part of a Data Set that a level knows.
func upTo(l index.Level, ds dicom.DataSet) dicom.DataSet {
	known := index.Known(l)
	return slices.DeleteFunc(slices.Clone(ds), func(e dicom.Element) bool {
		return !slices.Contains(known, e.Tag) || len(e.Values)+len(e.Items) == 0
	})
}

func unique(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

func of(ds dicom.DataSet, tag dicom.Tag) string {
	for _, e := range ds {
		if e.Tag == tag && len(e.Values) > 0 {
			return strings.TrimSpace(e.Values[0])
		}
	}
	return ""
}
