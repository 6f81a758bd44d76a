package indextest

import (
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
)

// identities are what the Model knows of whose identifiers are one person's.
type identities struct {
	changes []index.IdentityChange // as they were applied
	links   map[index.PatientKey]index.IdentityChange
	open    map[string]bool
}

// apply takes what is not known and does not come too late.
func (m *identities) apply(i *index.Identities) {
	if i == nil {
		return
	}
	for _, c := range i.Changes {
		if m.knows(c) || c.Before != 0 && m.last(c) >= c.Before {
			continue
		}
		c.Sequence = int64(len(m.changes) + 1)
		m.changes = append(m.changes, c)
		m.open[c.Name] = c.Kind == index.IdentityQueued
		if c.Settles != "" {
			m.open[c.Settles] = false
		}
		if c.Kind == index.IdentityLinked {
			m.links[c.Local] = c
		} else if c.Kind == index.IdentityUndone || c.Unlinks {
			delete(m.links, c.Local)
		}
	}
}

func (m *identities) knows(c index.IdentityChange) bool {
	for _, k := range m.changes {
		if k.Name == c.Name {
			return true
		}
	}
	return false
}

// last is the Sequence of the last change of the identity or of the number.
func (m *identities) last(c index.IdentityChange) (last int64) {
	for _, k := range m.changes {
		if k.Local == c.Local || k.National() == c.National() {
			last = k.Sequence
		}
	}
	return last
}

// Queue names the changes that wait, in their order.
func (m *Model) Queue() (names []string) {
	for _, c := range m.people.changes {
		if m.people.open[c.Name] {
			names = append(names, c.Name)
		}
	}
	return names
}

// Number is what an identity is linked with, or the zero PatientKey.
func (m *Model) Number(local index.PatientKey) index.PatientKey {
	if l, ok := m.people.links[local]; ok {
		return l.National()
	}
	return index.PatientKey{}
}

// identified is a study or series with the number that its patient is linked
// with.
func (m *Model) identified(ds dicom.DataSet) dicom.DataSet {
	l, ok := m.people.links[index.PatientOf(ds)]
	if !ok {
		return ds
	}
	return ds.With(dicom.Element{Tag: 0x00101002, VR: "SQ", Items: []dicom.DataSet{{
		text(0x00100020, "LO", l.Number), text(0x00100021, "LO", l.Authority.Name), text(0x00100022, "CS", "TEXT"),
		{Tag: 0x00100024, VR: "SQ", Items: []dicom.DataSet{{text(0x00400032, "UT", l.Authority.UniversalID), text(0x00400033, "CS", "ISO")}}},
	}}})
}
