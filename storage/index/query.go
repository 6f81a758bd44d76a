package index

import "github.com/esante-alsace/cigogne/storage/dicom"

// Level is a level of the information model (PS3.4 §C.6.2.1).
type Level int

// The levels a query can be asked at.
const (
	Study Level = iota + 1
	Series
	Image
)

// Query is a question in the terms of PS3.4 §C.2.2.2, whichever protocol
// brought it.
type Query struct {
	Level Level
	// StudyInstanceUID and SeriesInstanceUID, when not empty, are the
	// resource that the question is asked under.
	StudyInstanceUID  string
	SeriesInstanceUID string
	// Patients, when not nil, are those of whom the answers may be.
	Patients []PatientKey
	// Match must all hold.
	Match []Condition
	// Include lists attributes to return beyond those that the level always
	// returns (PS3.18 §10.6.3.3); IncludeAll returns all that are known.
	Include    []dicom.Tag
	IncludeAll bool
	// Fuzzy asks for fuzzy semantic matching of person names (PS3.18
	// §8.3.4.2): each word matches the beginning of a name component.
	Fuzzy bool
	// Superseded asks at the Image level for the manifests of a study that stand
	// no more, too, and above it for what holds nothing else.
	Superseded bool
	// Limit is the most results to return, 0 for the bound of the index;
	// Offset is how many to skip. The order is stable.
	Limit, Offset int
	// After, when not nil, leaves out the answers up to that place: the next
	// page begins where the last one ended, whatever came in between. It is of
	// the Study and the Series level.
	After *Place
}

// Place is a place in the order of answers: that of one of them.
type Place struct {
	// StudyDate is as the index orders it: YYYYMMDD, or empty.
	StudyDate         string
	StudyInstanceUID  string
	SeriesInstanceUID string // empty at the Study level
}

// PlaceOf is the place of an answer of Search.
func PlaceOf(answer dicom.DataSet) Place {
	return Place{
		StudyDate:         columnDate(value(answer, tagStudyDate)),
		StudyInstanceUID:  value(answer, tagStudyInstanceUID),
		SeriesInstanceUID: value(answer, tagSeriesInstanceUID),
	}
}

// Condition is one matching key. Path is the attribute, preceded by the
// sequences that hold it.
type Condition struct {
	Path []dicom.Tag
	// Value is the value to match as it was asked: the VR and the value
	// itself tell which kind of matching applies (single value, wildcard,
	// range, list of UID). An empty Value matches everything.
	Value string
}
