package rpc

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
	"github.com/esante-alsace/cigogne/storage/index"
)

// Timeline implements pb.StudiesServer.
func (s *studies) Timeline(ctx context.Context, req *pb.StudiesTimelineRequest) (*pb.StudiesTimelineResponse, error) {
	if err := checkUID("study_instance_uid", req.StudyInstanceUid); err != nil {
		return nil, err
	}
	all, err := s.server.History.Study(ctx, req.StudyInstanceUid)
	if err != nil {
		return nil, err
	}
	answer := &pb.StudiesTimelineResponse{}
	for _, series := range all {
		answer.Series = append(answer.Series, &pb.SeriesTimeline{
			SeriesInstanceUid: series.SeriesInstanceUID, Steps: stepsOf(series.Steps),
		})
	}
	return answer, nil
}

// InstanceTimeline implements pb.StudiesServer.
func (s *studies) InstanceTimeline(ctx context.Context, req *pb.StudiesInstanceTimelineRequest) (*pb.StudiesInstanceTimelineResponse, error) {
	for _, u := range []struct{ field, uid string }{
		{"study_instance_uid", req.StudyInstanceUid}, {"series_instance_uid", req.SeriesInstanceUid}, {"sop_instance_uid", req.SopInstanceUid},
	} {
		if err := checkUID(u.field, u.uid); err != nil {
			return nil, err
		}
	}
	told, err := s.server.History.Instance(ctx, gateway.Selector{
		StudyInstanceUID: req.StudyInstanceUid, SeriesInstanceUID: req.SeriesInstanceUid, SOPInstanceUID: req.SopInstanceUid,
	})
	if err != nil {
		return nil, err
	}
	answer := &pb.StudiesInstanceTimelineResponse{Instance: instanceOf(told.Instance)}
	answer.Steps = append(answer.Steps, ownStep(&told, pb.StepKind_STEP_KIND_RECEIVED, told.Received, originOf(told.Origin), ""))
	for _, c := range told.Copies {
		answer.Steps = append(answer.Steps, ownStep(&told, pb.StepKind_STEP_KIND_ARCHIVED, c.At, nil, c.Archive))
	}
	for _, step := range stepsOf(told.Series) {
		switch step.Kind {
		case pb.StepKind_STEP_KIND_RECEIVED, pb.StepKind_STEP_KIND_ARCHIVED: // known of the instance itself
		default:
			answer.Steps = append(answer.Steps, step)
		}
	}
	return answer, nil
}

// ownStep is a step that is known of one instance.
func ownStep(told *gateway.InstanceHistory, kind pb.StepKind, at int64, from *pb.Origin, archive string) *pb.Step {
	return &pb.Step{
		Kind: kind, First: timeOf(at), Last: timeOf(at), Instances: 1, Bytes: told.Size, Origin: from, Archive: archive,
	}
}

// stepsOf are the steps in the order of time. Receiving is three of them.
func stepsOf(steps []index.Step) []*pb.Step {
	type timed struct {
		*pb.Step
		at int64
	}
	var all []timed
	add := func(s *index.Step, kind pb.StepKind, last int64) {
		if last != 0 { // known, as it is not after a restart
			all = append(all, timed{stepOf(s, kind, last), s.First})
		}
	}
	kinds := stepKinds()
	for i := range steps {
		s := &steps[i]
		if kind, ok := kinds[s.Kind]; ok {
			add(s, kind, s.Last)
		}
		if s.Kind == index.EventReceived {
			add(s, pb.StepKind_STEP_KIND_DURABLE, s.Durable)
			add(s, pb.StepKind_STEP_KIND_INDEXED, s.Indexed)
		}
	}
	slices.SortStableFunc(all, func(a, b timed) int { return cmp.Compare(a.at, b.at) })
	out := make([]*pb.Step, len(all))
	for i := range all {
		out[i] = all[i].Step
	}
	return out
}

// stepKinds are the steps that are events of the index.
func stepKinds() map[index.EventKind]pb.StepKind {
	return map[index.EventKind]pb.StepKind{
		index.EventReceived: pb.StepKind_STEP_KIND_RECEIVED, index.EventArchived: pb.StepKind_STEP_KIND_ARCHIVED,
		index.EventRetrieved: pb.StepKind_STEP_KIND_RETRIEVED, index.EventCut: pb.StepKind_STEP_KIND_CUT,
		index.EventDeleted: pb.StepKind_STEP_KIND_DELETED, index.EventRestored: pb.StepKind_STEP_KIND_RESTORED,
		index.EventRemoved: pb.StepKind_STEP_KIND_REMOVED, index.EventComplete: pb.StepKind_STEP_KIND_COMPLETE,
		index.EventPublished: pb.StepKind_STEP_KIND_PUBLISHED, index.EventWithdrawn: pb.StepKind_STEP_KIND_WITHDRAWN,
		index.EventCommitted: pb.StepKind_STEP_KIND_COMMITTED,
	}
}

// stepOf is a step of that kind which was over at last.
func stepOf(s *index.Step, kind pb.StepKind, last int64) *pb.Step {
	step := &pb.Step{
		Kind: kind, First: timeOf(s.First), Last: timeOf(last), Node: s.Node, Instances: s.Instances, Bytes: s.Bytes,
		Origin: originOf(s.Origin), Archive: s.Archive, Others: s.Others, Version: s.Version,
	}
	took := time.Duration(last - s.First)
	switch kind {
	case pb.StepKind_STEP_KIND_ARCHIVED, pb.StepKind_STEP_KIND_RETRIEVED, pb.StepKind_STEP_KIND_CUT, pb.StepKind_STEP_KIND_COMMITTED:
		took = time.Duration(s.Took)
	case pb.StepKind_STEP_KIND_DURABLE:
		step.Nodes = s.Nodes
	}
	if took > 0 {
		step.BytesPerSecond = float64(s.Bytes) / took.Seconds()
	}
	return step
}
