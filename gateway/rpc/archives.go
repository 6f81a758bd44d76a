package rpc

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	"github.com/esante-alsace/cigogne/gateway"
	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
	"github.com/esante-alsace/cigogne/storage"
)

// archives is the service Archives.
type archives struct {
	pb.UnimplementedArchivesServer
	node Node
}

// List implements pb.ArchivesServer.
func (a *archives) List(ctx context.Context, _ *pb.ArchivesListRequest) (*pb.ArchivesListResponse, error) {
	return &pb.ArchivesListResponse{Archives: a.node.Archives(ctx)}, nil
}

// Verify implements pb.ArchivesServer.
func (a *archives) Verify(req *pb.ArchivesVerifyRequest, to grpc.ServerStreamingServer[pb.ArchivesVerifyResponse]) error {
	v, err := verifyOf(req.StudyInstanceUid, req.BytesPerSecond)
	if err != nil {
		return err
	}
	var last gateway.Verified
	err = a.node.Verify(to.Context(), v, func(found []gateway.Finding, done gateway.Verified) error {
		last = done
		return to.Send(&pb.ArchivesVerifyResponse{Findings: findingsOf(found), SoFar: verificationOf(done)})
	})
	if err != nil {
		return err
	}
	return to.Send(&pb.ArchivesVerifyResponse{SoFar: verificationOf(last), Done: true})
}

// Repair implements pb.ArchivesServer.
func (a *archives) Repair(req *pb.ArchivesRepairRequest, to grpc.ServerStreamingServer[pb.ArchivesRepairResponse]) error {
	v, err := verifyOf(req.StudyInstanceUid, req.BytesPerSecond)
	if err != nil {
		return err
	}
	v.Repair = true
	var last gateway.Verified
	err = a.node.Verify(to.Context(), v, func(found []gateway.Finding, done gateway.Verified) error {
		last = done
		return to.Send(&pb.ArchivesRepairResponse{Findings: findingsOf(found), SoFar: verificationOf(done)})
	})
	if err != nil {
		return err
	}
	return to.Send(&pb.ArchivesRepairResponse{SoFar: verificationOf(last), Done: true})
}

func verifyOf(study string, rate int64) (Verify, error) {
	if study != "" {
		if err := checkUID("study_instance_uid", study); err != nil {
			return Verify{}, err
		}
	}
	if rate < 0 {
		return Verify{}, inField("bytes_per_second", fmt.Errorf("%w: bytes_per_second is below 0", storage.ErrInvalid))
	}
	return Verify{StudyInstanceUID: study, Rate: rate}, nil
}

func findingsOf(found []gateway.Finding) (out []*pb.Finding) {
	for _, f := range found {
		out = append(out, &pb.Finding{
			Fault: string(f.Fault), PackId: f.PackID, Key: f.Key, Archive: f.Archive, What: f.What, Repaired: f.Repaired,
		})
	}
	return out
}

func verificationOf(v gateway.Verified) *pb.Verification {
	return &pb.Verification{
		Packs: int64(v.Packs), Copies: int64(v.Copies), Instances: int64(v.Instances), Bytes: v.Bytes,
		Findings: int64(v.Findings), Repaired: int64(v.Repaired), Brought: int64(v.Brought),
	}
}
