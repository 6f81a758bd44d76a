package index

import (
	"bytes"
	"crypto/sha256"
	"sort"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

// Standing tells what an instance is to the index.
type Standing int

const (
	// StandingNew means: nothing else has its SOPInstanceUID.
	StandingNew Standing = iota + 1
	// StandingDuplicate means: the very same Data Set is known already, in its place
	// or among the conflicts.
	StandingDuplicate
	// StandingConflict means: it is kept aside, because another Data Set has its
	// SOPInstanceUID or its study belongs to another patient.
	StandingConflict
)

// String is the standing in one word.
func (s Standing) String() string {
	switch s {
	case StandingNew:
		return "new"
	case StandingDuplicate:
		return "duplicate"
	case StandingConflict:
		return "conflict"
	}
	return "unknown"
}

// Why tells why an instance is kept aside.
type Why int

const (
	// WhyNone means: it is not kept aside.
	WhyNone Why = iota
	// WhyDigest means: another Data Set has its SOPInstanceUID.
	WhyDigest
	// WhyPatient means: its study belongs to another patient: another PatientID,
	// or the same one of another issuer.
	WhyPatient
)

// String says it in plain words.
func (w Why) String() string {
	switch w {
	case WhyNone:
		return ""
	case WhyDigest:
		return "another Data Set has its SOPInstanceUID"
	case WhyPatient:
		return "its study belongs to another patient"
	}
	return "unknown"
}

// Applied tells what a batch came to. It is the same on every node.
type Applied struct {
	// Skipped is true when the batch is not past the watermark of its journal:
	// Received was applied before, and Outcomes is empty.
	Skipped bool
	// Outcomes has one entry for each of Received, in the same order.
	Outcomes []Outcome
	// Refused lists the PackIDs of plans that name an instance which has no
	// row, or which another plan holds; and of archived packs that were never
	// planned. Nothing was done for them.
	Refused []string
}

// Outcome is what became of one instance.
type Outcome struct {
	Standing Standing
	// Why is WhyNone unless Standing is StandingConflict.
	Why Why
}

// Selector names a study, a series of it or an instance of that; the levels
// below the one that is meant are empty.
type Selector struct {
	StudyInstanceUID  string
	SeriesInstanceUID string
	SOPInstanceUID    string
	// Conflicts selects the instances that are kept aside instead.
	Conflicts bool
}

// LiveInstance is an instance that still lies in a journal.
type LiveInstance struct {
	Instance
	// PackID is the plan that holds it, or "".
	PackID string
	// Why it is kept aside, for a conflict.
	Why Why
}

// SeriesWork is a series that has instances to be packed.
type SeriesWork struct {
	StudyInstanceUID  string
	SeriesInstanceUID string
	// Conflict: the instances are those that are kept aside.
	Conflict bool
	// Instances and Bytes count what is live and in no plan.
	Instances int
	Bytes     int64
	// Newest is the latest Received of the series, in nanoseconds of Unix time.
	Newest int64
	// Generation counts the deletions that there were of it. What comes after
	// one must not share a pack with what it removes.
	Generation int64
}

// Stats counts what the index holds.
type Stats struct {
	Studies, Series, Instances int64
	// Live are the instances that still lie in a journal, conflicts included,
	// and LiveBytes is their size.
	Live, LiveBytes int64
	// Planned packs are not archived yet; Packs are.
	Planned, Packs int64
	Conflicts      int64
}

// ImageSeries is a series that may hold answers to a query at the Image level.
type ImageSeries struct {
	StudyInstanceUID  string
	SeriesInstanceUID string
	// Attributes are those of patient, study and series, with the counts.
	Attributes dicom.DataSet
	// Instances is how many it holds in all, live and archived, without the
	// manifests that stand no more; Stands is the SOPInstanceUID of the one that
	// does, when it holds any.
	Instances int
	Stands    string
	manifests bool // it holds some
	// Live are its instances that still lie in a journal.
	Live []LiveInstance
	// Packs hold its other instances. Their metadata must be read to answer.
	Packs []Pack
}

// Members is what the index remembers of the instances in a pack: for each,
// the first 8 bytes of the SHA-256 of its SOPInstanceUID and the first 8 of
// its Digest, sorted.
type Members []byte

const (
	memberBytes = 16
	memberKey   = 8
)

func member(sop string, digest storage.Digest) [memberBytes]byte {
	var m [memberBytes]byte
	key := sha256.Sum256([]byte(sop))
	copy(m[:memberKey], key[:memberKey])
	copy(m[memberKey:], digest[:memberKey])
	return m
}

// Len is the number of members.
func (m Members) Len() int { return len(m) / memberBytes }

func (m Members) at(i int) []byte { return m[i*memberBytes : (i+1)*memberBytes] }

// Holds tells whether the pack holds the instance as one of its series. It
// can be wrong with a probability of 2^-64 for each member.
func (m Members) Holds(sop string, digest storage.Digest) bool {
	want := member(sop, digest)
	i := m.search(want[:])
	return i < m.Len() && bytes.Equal(m.at(i), want[:])
}

// Named tells whether the pack holds an instance of that SOPInstanceUID,
// whatever its digest.
func (m Members) Named(sop string) bool {
	want := member(sop, storage.Digest{})
	i := m.search(want[:])
	return i < m.Len() && bytes.Equal(m.at(i)[:memberKey], want[:memberKey])
}

func (m Members) search(want []byte) int {
	return sort.Search(m.Len(), func(i int) bool { return bytes.Compare(m.at(i), want) >= 0 })
}

// sorted tells whether the members are in strictly ascending order, as they
// must be.
func (m Members) sorted() bool {
	if len(m)%memberBytes != 0 {
		return false
	}
	for i := 1; i < m.Len(); i++ {
		if bytes.Compare(m.at(i-1), m.at(i)) >= 0 {
			return false
		}
	}
	return true
}

// membersOf sorts entries and drops those that are twice.
func membersOf(entries [][memberBytes]byte) Members {
	sort.Slice(entries, func(i, j int) bool { return bytes.Compare(entries[i][:], entries[j][:]) < 0 })
	m := make(Members, 0, len(entries)*memberBytes)
	for i, e := range entries {
		if i == 0 || e != entries[i-1] {
			m = append(m, e[:]...)
		}
	}
	return m
}
