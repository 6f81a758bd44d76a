package rpc

import (
	"context"
	"fmt"

	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// haveMost bounds the instances that are asked about at once.
const haveMost = 1000

// Have implements pb.StudiesServer.
func (s *studies) Have(ctx context.Context, req *pb.StudiesHaveRequest) (*pb.StudiesHaveResponse, error) {
	if len(req.Instances) > haveMost {
		return nil, inField("instances", fmt.Errorf("%w: more than %d instances", storage.ErrInvalid, haveMost))
	}
	asked := make([]index.Named, len(req.Instances))
	for i, in := range req.Instances {
		asked[i].Key = storage.InstanceKey{
			StudyInstanceUID: in.GetStudyInstanceUid(), SeriesInstanceUID: in.GetSeriesInstanceUid(), SOPInstanceUID: in.GetSopInstanceUid(),
		}
		if err := asked[i].Key.Validate(); err != nil {
			return nil, inField(fmt.Sprintf("instances[%d]", i), err)
		}
		if err := asked[i].Digest.UnmarshalText([]byte(in.GetDigest())); err != nil {
			return nil, inField(fmt.Sprintf("instances[%d].digest", i), err)
		}
	}
	held, err := s.server.Search.Held(ctx, asked)
	if err != nil {
		return nil, err
	}
	answer := &pb.StudiesHaveResponse{Holdings: make([]pb.Holding, len(held))}
	for i, h := range held {
		switch h {
		case index.StandingDuplicate:
			answer.Holdings[i] = pb.Holding_HOLDING_HELD
		case index.StandingConflict:
			answer.Holdings[i] = pb.Holding_HOLDING_OTHER
		default:
			answer.Holdings[i] = pb.Holding_HOLDING_ABSENT
		}
	}
	return answer, nil
}
