package rpc

import (
	"context"

	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
	"github.com/esante-alsace/cigogne/storage/index"
)

// Lives tells where studies are in their lives.
type Lives interface {
	// Life is storage.ErrNotFound for a study never heard of.
	Life(ctx context.Context, study string) (index.StudyLife, error)
	// Complete says that a study is complete as it is.
	Complete(ctx context.Context, study, by string) (index.StudyLife, error)
}

// GetLife implements pb.StudiesServer.
func (s *studies) GetLife(ctx context.Context, req *pb.StudiesGetLifeRequest) (*pb.StudiesGetLifeResponse, error) {
	if err := checkUID("study_instance_uid", req.StudyInstanceUid); err != nil {
		return nil, err
	}
	life, err := s.server.Lives.Life(ctx, req.StudyInstanceUid)
	if err != nil {
		return nil, err
	}
	return &pb.StudiesGetLifeResponse{Life: lifeOf(&life)}, nil
}

// Complete implements pb.StudiesServer.
func (s *studies) Complete(ctx context.Context, req *pb.StudiesCompleteRequest) (*pb.StudiesCompleteResponse, error) {
	if err := checkUID("study_instance_uid", req.StudyInstanceUid); err != nil {
		return nil, err
	}
	life, err := s.server.Lives.Complete(ctx, req.StudyInstanceUid, forTheRecord(ctx, req.By))
	if err != nil {
		return nil, err
	}
	return &pb.StudiesCompleteResponse{Life: lifeOf(&life)}, nil
}

func lifeOf(l *index.StudyLife) *pb.Life {
	life := &pb.Life{
		StudyInstanceUid: l.StudyInstanceUID, Open: l.Open, Version: l.Version, Completed: timeOf(l.Completed),
		Instances: l.Instances, Cause: l.Cause, By: l.By, Lacks: l.Lack,
	}
	if l.Manifest != nil {
		life.ManifestSopInstanceUid, life.ManifestMade = l.Manifest.SOPInstanceUID, !l.Owed
	}
	return life
}
