package rpc

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
)

// The attributes that have fields of their own.
const (
	tagStudyDate              dicom.Tag = 0x00080020
	tagStudyTime              dicom.Tag = 0x00080030
	tagAccessionNumber        dicom.Tag = 0x00080050
	tagModality               dicom.Tag = 0x00080060
	tagModalitiesInStudy      dicom.Tag = 0x00080061
	tagReferringPhysicianName dicom.Tag = 0x00080090
	tagStudyDescription       dicom.Tag = 0x00081030
	tagSeriesDescription      dicom.Tag = 0x0008103E
	tagPatientName            dicom.Tag = 0x00100010
	tagPatientID              dicom.Tag = 0x00100020
	tagIssuerOfPatientID      dicom.Tag = 0x00100021
	tagPatientBirthDate       dicom.Tag = 0x00100030
	tagPatientSex             dicom.Tag = 0x00100040
	tagBodyPartExamined       dicom.Tag = 0x00180015
	tagStudyInstanceUID       dicom.Tag = 0x0020000D
	tagSeriesInstanceUID      dicom.Tag = 0x0020000E
	tagStudyID                dicom.Tag = 0x00200010
	tagSeriesNumber           dicom.Tag = 0x00200011
	tagSeriesInStudy          dicom.Tag = 0x00201206
	tagInstancesInStudy       dicom.Tag = 0x00201208
	tagInstancesInSeries      dicom.Tag = 0x00201209
)

// studyInclude and seriesInclude are asked for beyond what the levels always
// return.
func studyInclude() []dicom.Tag {
	return []dicom.Tag{tagStudyDescription, tagIssuerOfPatientID}
}

func seriesInclude() []dicom.Tag { return []dicom.Tag{tagBodyPartExamined} }

func studyOf(ds dicom.DataSet, include *include) *pb.Study {
	return &pb.Study{
		StudyInstanceUid:              first(ds, tagStudyInstanceUID),
		StudyDate:                     first(ds, tagStudyDate),
		StudyTime:                     first(ds, tagStudyTime),
		StudyId:                       first(ds, tagStudyID),
		StudyDescription:              first(ds, tagStudyDescription),
		AccessionNumber:               first(ds, tagAccessionNumber),
		PatientId:                     first(ds, tagPatientID),
		IssuerOfPatientId:             first(ds, tagIssuerOfPatientID),
		PatientName:                   first(ds, tagPatientName),
		PatientBirthDate:              first(ds, tagPatientBirthDate),
		PatientSex:                    first(ds, tagPatientSex),
		ReferringPhysicianName:        first(ds, tagReferringPhysicianName),
		ModalitiesInStudy:             values(ds, tagModalitiesInStudy),
		NumberOfStudyRelatedSeries:    number(ds, tagSeriesInStudy),
		NumberOfStudyRelatedInstances: number(ds, tagInstancesInStudy),
		Attributes:                    include.of(ds),
	}
}

func seriesOf(ds dicom.DataSet, include *include) *pb.Series {
	return &pb.Series{
		SeriesInstanceUid:              first(ds, tagSeriesInstanceUID),
		Modality:                       first(ds, tagModality),
		SeriesNumber:                   first(ds, tagSeriesNumber),
		SeriesDescription:              first(ds, tagSeriesDescription),
		BodyPartExamined:               first(ds, tagBodyPartExamined),
		NumberOfSeriesRelatedInstances: number(ds, tagInstancesInSeries),
		Attributes:                     include.of(ds),
	}
}

func values(ds dicom.DataSet, t dicom.Tag) []string {
	i, ok := slices.BinarySearchFunc(ds, t, func(e dicom.Element, t dicom.Tag) int { return int(int64(e.Tag) - int64(t)) })
	if !ok {
		return nil
	}
	return ds[i].Values
}

func first(ds dicom.DataSet, t dicom.Tag) string {
	if v := values(ds, t); len(v) > 0 {
		return v[0]
	}
	return ""
}

func number(ds dicom.DataSet, t dicom.Tag) int32 {
	n, _ := strconv.ParseInt(first(ds, t), 10, 32) // the index counts it
	return int32(n)
}

// include are further attributes that are asked for.
type include struct {
	tags []dicom.Tag
	all  bool
}

// includeMost bounds them.
const includeMost = 256

func newInclude(asked []string) (*include, error) {
	in := &include{}
	if len(asked) > includeMost {
		return nil, inField("include_attributes", fmt.Errorf("%w: more than %d attributes", storage.ErrInvalid, includeMost))
	}
	for _, name := range asked {
		if name == "all" {
			in.all = true
			continue
		}
		t, err := dicom.ParseTag(name)
		if err != nil {
			return nil, inField("include_attributes", err)
		}
		in.tags = append(in.tags, t)
	}
	return in, nil
}

// into adds them to a query that asks for own.
func (in *include) into(q *index.Query, own []dicom.Tag) {
	q.IncludeAll = in.all
	q.Include = slices.Concat(own, in.tags)
}

// of are those of ds that were asked for and have values.
func (in *include) of(ds dicom.DataSet) []*pb.Attribute {
	if !in.all && len(in.tags) == 0 {
		return nil
	}
	var out []*pb.Attribute
	for i := range ds {
		e := &ds[i]
		if len(e.Values) > 0 && (in.all || slices.Contains(in.tags, e.Tag)) {
			out = append(out, &pb.Attribute{Keyword: cmp.Or(e.Tag.Keyword(), e.Tag.String()), Vr: string(e.VR), Values: e.Values})
		}
	}
	return out
}
