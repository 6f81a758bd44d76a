package rpc

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esante-alsace/cigogne/gateway"
	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
)

// studies is the service Studies.
type studies struct {
	pb.UnimplementedStudiesServer
	server *Server
}

const (
	usualStudies   = 100
	usualInstances = 1000
	// keysMost bounds the conditions of a search.
	keysMost = 64
)

// Search implements pb.StudiesServer.
func (s *studies) Search(ctx context.Context, req *pb.StudiesSearchRequest) (*pb.StudiesSearchResponse, error) {
	size, err := pageSize(req.PageSize, usualStudies)
	if err != nil {
		return nil, err
	}
	wanted, err := newMask(req.ReadMask, (*pb.Study)(nil))
	if err != nil {
		return nil, err
	}
	included, err := newInclude(req.IncludeAttributes)
	if err != nil {
		return nil, err
	}
	q, err := studyQuery(req)
	if err != nil {
		return nil, err
	}
	question, err := searchQuestion(req)
	if err != nil {
		return nil, err
	}
	if req.PageToken != "" {
		q.After = &index.Place{}
		if err := readToken(req.PageToken, question, q.After); err != nil {
			return nil, err
		}
	}
	q.Limit = size + 1 // one more, to know whether there are more
	included.into(&q, studyInclude())
	answer := &pb.StudiesSearchResponse{Ignored: ignored(q)}
	bytes := 0
	var last dicom.DataSet
	for ds, err := range s.server.Search.Find(ctx, q) {
		if err != nil {
			return nil, err
		}
		study := studyOf(ds, included)
		wanted.apply(study.ProtoReflect())
		bytes += proto.Size(study) + frameBytes
		if n := len(answer.Studies); n == size || n > 0 && bytes > s.server.Limits.MaxPage {
			answer.NextPageToken, err = writeToken(question, index.PlaceOf(last))
			return answer, err
		}
		answer.Studies, last = append(answer.Studies, study), ds
	}
	return answer, nil
}

// searchQuestion is what must be the same from page to page.
func searchQuestion(req *pb.StudiesSearchRequest) ([]byte, error) {
	same := proto.CloneOf(req)
	same.PageSize, same.PageToken, same.ReadMask, same.IncludeAttributes = 0, "", nil, nil
	return questionOf(same)
}

// studyQuery is the question without the page.
func studyQuery(req *pb.StudiesSearchRequest) (index.Query, error) {
	q := index.Query{Level: index.Study, Fuzzy: req.FuzzyMatching}
	for _, k := range []struct {
		tag   dicom.Tag
		value string
	}{
		{tagStudyInstanceUID, strings.Join(req.StudyInstanceUids, `\`)},
		{tagPatientID, req.PatientId},
		{tagIssuerOfPatientID, req.IssuerOfPatientId},
		{tagPatientName, req.PatientName},
		{tagStudyDate, req.StudyDate},
		{tagAccessionNumber, req.AccessionNumber},
		{tagModalitiesInStudy, strings.Join(req.ModalitiesInStudy, `\`)},
		{tagStudyDescription, req.StudyDescription},
	} {
		if k.value != "" {
			q.Match = append(q.Match, index.Condition{Path: []dicom.Tag{k.tag}, Value: k.value})
		}
	}
	if len(req.Match) > keysMost {
		return q, inField("match", fmt.Errorf("%w: more than %d conditions", storage.ErrInvalid, keysMost))
	}
	for _, name := range slices.Sorted(maps.Keys(req.Match)) {
		t, err := dicom.ParseTag(name)
		if err != nil {
			return q, inField("match", err)
		}
		q.Match = append(q.Match, index.Condition{Path: []dicom.Tag{t}, Value: req.Match[name]})
	}
	return q, nil
}

// ignored names the conditions that the index does not apply. That a query is
// invalid is told when it is asked.
func ignored(q index.Query) (names []string) {
	m, err := index.Compile(q)
	if err != nil {
		return nil
	}
	for _, c := range m.Ignored() {
		names = append(names, c.Path[len(c.Path)-1].String())
	}
	return names
}

// Get implements pb.StudiesServer.
func (s *studies) Get(ctx context.Context, req *pb.StudiesGetRequest) (*pb.StudiesGetResponse, error) {
	if err := checkUID("study_instance_uid", req.StudyInstanceUid); err != nil {
		return nil, err
	}
	wanted, err := newMask(req.ReadMask, (*pb.Study)(nil))
	if err != nil {
		return nil, err
	}
	included, err := newInclude(req.IncludeAttributes)
	if err != nil {
		return nil, err
	}
	q := index.Query{Level: index.Study, StudyInstanceUID: req.StudyInstanceUid, Limit: 1}
	included.into(&q, studyInclude())
	var study *pb.Study
	for ds, err := range s.server.Search.Find(ctx, q) {
		if err != nil {
			return nil, err
		}
		study = studyOf(ds, included)
	}
	if study == nil {
		return nil, fmt.Errorf("%w: study %s", storage.ErrNotFound, req.StudyInstanceUid)
	}
	if _, ok := wanted["series"]; ok || len(wanted) == 0 {
		if study.Series, err = s.seriesIn(ctx, req.StudyInstanceUid, included); err != nil {
			return nil, err
		}
	}
	wanted.apply(study.ProtoReflect())
	return &pb.StudiesGetResponse{Study: study}, nil
}

func (s *studies) seriesIn(ctx context.Context, study string, included *include) ([]*pb.Series, error) {
	q := index.Query{Level: index.Series, StudyInstanceUID: study}
	included.into(&q, seriesInclude())
	var all []*pb.Series
	bytes := 0
	for ds, err := range s.server.Search.Find(ctx, q) {
		if err != nil {
			return nil, err
		}
		all = append(all, seriesOf(ds, included))
		if bytes += proto.Size(all[len(all)-1]) + frameBytes; bytes > s.server.Limits.MaxPage {
			return nil, fmt.Errorf("%w: the study has too many series for one answer: ask for fewer fields", storage.ErrTooLarge)
		}
	}
	return all, nil
}

// ListInstances implements pb.StudiesServer. A page is told from the one
// before by its last instance: what came in between does not shift it.
func (s *studies) ListInstances(ctx context.Context, req *pb.StudiesListInstancesRequest) (*pb.StudiesListInstancesResponse, error) {
	size, err := pageSize(req.PageSize, usualInstances)
	if err != nil {
		return nil, err
	}
	wanted, err := newMask(req.ReadMask, (*pb.Instance)(nil))
	if err != nil {
		return nil, err
	}
	question, err := questionOf(&pb.StudiesListInstancesRequest{StudyInstanceUid: req.StudyInstanceUid, SeriesInstanceUid: req.SeriesInstanceUid})
	if err != nil {
		return nil, err
	}
	var after storage.InstanceKey
	if err := readToken(req.PageToken, question, &after); err != nil {
		return nil, err
	}
	found, err := s.instances(ctx, req.StudyInstanceUid, req.SeriesInstanceUid)
	if err != nil {
		return nil, err
	}
	found = found[behind(found, after):]
	answer := &pb.StudiesListInstancesResponse{}
	bytes := 0
	for i, in := range found {
		one := instanceOf(in.About())
		wanted.apply(one.ProtoReflect())
		bytes += proto.Size(one) + frameBytes
		if i == size || i > 0 && bytes > s.server.Limits.MaxPage {
			answer.NextPageToken, err = writeToken(question, found[i-1].About().Key)
			return answer, err
		}
		answer.Instances = append(answer.Instances, one)
	}
	return answer, nil
}

// instances locates what is selected, in an order that depends on nothing but
// the names: by SeriesInstanceUID, then by SOPInstanceUID, a shorter one first,
// so that the numbers that devices count up at its end come in their order. It
// is the same before and after they are archived: a transfer that broke goes on
// where it was.
func (s *studies) instances(ctx context.Context, study, series string) ([]gateway.Instance, error) {
	if err := checkUID("study_instance_uid", study); err != nil {
		return nil, err
	}
	if series != "" {
		if err := checkUID("series_instance_uid", series); err != nil {
			return nil, err
		}
	}
	found, err := s.server.Retrieve.Instances(ctx, gateway.Selector{StudyInstanceUID: study, SeriesInstanceUID: series})
	slices.SortFunc(found, func(a, b gateway.Instance) int { return compareKeys(a.About().Key, b.About().Key) })
	return found, err
}

func compareKeys(a, b storage.InstanceKey) int {
	return cmp.Or(
		cmp.Compare(a.SeriesInstanceUID, b.SeriesInstanceUID),
		cmp.Compare(len(a.SOPInstanceUID), len(b.SOPInstanceUID)),
		cmp.Compare(a.SOPInstanceUID, b.SOPInstanceUID),
	)
}

// behind is where in a sorted list what comes after an instance begins.
func behind(found []gateway.Instance, after storage.InstanceKey) int {
	at, is := slices.BinarySearchFunc(found, after, func(in gateway.Instance, k storage.InstanceKey) int {
		return compareKeys(in.About().Key, k)
	})
	if is {
		at++
	}
	return at
}

func checkUID(field, uid string) error {
	if storage.ValidUID(uid) {
		return nil
	}
	return inField(field, fmt.Errorf("%w: %s is not a UID", storage.ErrInvalid, field))
}

func instanceOf(in storage.Instance) *pb.Instance {
	return &pb.Instance{
		Name: &pb.InstanceName{
			StudyInstanceUid:  in.Key.StudyInstanceUID,
			SeriesInstanceUid: in.Key.SeriesInstanceUID,
			SopInstanceUid:    in.Key.SOPInstanceUID,
			Digest:            in.Digest.String(),
		},
		SopClassUid:       in.SOPClassUID,
		TransferSyntaxUid: in.TransferSyntaxUID,
		Size:              in.Size,
		Prefix:            in.Prefix,
		Crc32:             in.CRC32,
		Received:          timestamppb.New(time.Unix(0, in.Received)),
	}
}
