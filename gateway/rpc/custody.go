package rpc

import (
	"context"
	"fmt"
	"unicode/utf8"

	"github.com/esante-alsace/cigogne/gateway"
	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// Custodian is what must be kept and what is deleted.
type Custodian interface {
	Delete(ctx context.Context, q gateway.Request) (gateway.Deleted, error)
	Undo(ctx context.Context, id, by, why string) (index.DeletionRecord, error)
	Deletion(ctx context.Context, id string) (gateway.DeletionStatus, error)
	Deletions(ctx context.Context, after int64, limit int) ([]gateway.DeletionStatus, error)
	Kept(ctx context.Context, study string) (index.Kept, error)
	OnHold(ctx context.Context, after string, limit int) ([]index.ProtectionRecord, error)
	Hold(ctx context.Context, name string, q gateway.Request) (index.Kept, error)
	Release(ctx context.Context, name string, q gateway.Request) (index.Kept, error)
	Retain(ctx context.Context, years *int, q gateway.Request) (index.Kept, error)
	Retention(ctx context.Context) (years int, err error)
}

// custody is the service Custody.
type custody struct {
	pb.UnimplementedCustodyServer
	custodian Custodian
}

const usualRecords = 100

// asked is who asks for what and why. Texts that are no UTF-8 do not reach
// here.
func asked(ctx context.Context, study, by, why string) (gateway.Request, error) {
	if err := checkUID("study_instance_uid", study); err != nil {
		return gateway.Request{}, err
	}
	for _, t := range []struct{ field, text string }{{"by", by}, {"why", why}} {
		if utf8.RuneCountInString(t.text) > 500 {
			return gateway.Request{}, inField(t.field, fmt.Errorf("%w: %s has more than 500 characters", storage.ErrInvalid, t.field))
		}
	}
	return gateway.Request{StudyInstanceUID: study, By: forTheRecord(ctx, by), Why: why}, nil
}

// Delete implements pb.CustodyServer.
func (c *custody) Delete(ctx context.Context, req *pb.CustodyDeleteRequest) (*pb.CustodyDeleteResponse, error) {
	q, err := asked(ctx, req.StudyInstanceUid, req.By, req.Why)
	if err != nil {
		return nil, err
	}
	if q.SeriesInstanceUID = req.SeriesInstanceUid; q.SeriesInstanceUID != "" {
		if err := checkUID("series_instance_uid", q.SeriesInstanceUID); err != nil {
			return nil, err
		}
	}
	d, err := c.custodian.Delete(ctx, q)
	if err != nil {
		return nil, err
	}
	return &pb.CustodyDeleteResponse{Deletion: deletionOf(&d.DeletionRecord), Before: d.Before}, nil
}

// Undo implements pb.CustodyServer.
func (c *custody) Undo(ctx context.Context, req *pb.CustodyUndoRequest) (*pb.CustodyUndoResponse, error) {
	r, err := c.custodian.Undo(ctx, req.DeletionId, forTheRecord(ctx, req.By), req.Why)
	if err != nil {
		return nil, err
	}
	return &pb.CustodyUndoResponse{Deletion: deletionOf(&r)}, nil
}

// GetDeletion implements pb.CustodyServer.
func (c *custody) GetDeletion(ctx context.Context, req *pb.CustodyGetDeletionRequest) (*pb.CustodyGetDeletionResponse, error) {
	s, err := c.custodian.Deletion(ctx, req.DeletionId)
	if err != nil {
		return nil, err
	}
	return &pb.CustodyGetDeletionResponse{Deletion: deletionStatus(&s)}, nil
}

// ListDeletions implements pb.CustodyServer.
func (c *custody) ListDeletions(ctx context.Context, req *pb.CustodyListDeletionsRequest) (*pb.CustodyListDeletionsResponse, error) {
	size, err := pageSize(req.PageSize, usualRecords)
	if err != nil {
		return nil, err
	}
	question := []byte("deletions")
	var after int64
	if err := readToken(req.PageToken, question, &after); err != nil {
		return nil, err
	}
	all, err := c.custodian.Deletions(ctx, after, size)
	if err != nil {
		return nil, err
	}
	answer := &pb.CustodyListDeletionsResponse{}
	for i := range all {
		answer.Deletions = append(answer.Deletions, deletionStatus(&all[i]))
	}
	if len(all) == size {
		answer.NextPageToken, err = writeToken(question, all[size-1].Revision)
	}
	return answer, err
}

// Hold implements pb.CustodyServer.
func (c *custody) Hold(ctx context.Context, req *pb.CustodyHoldRequest) (*pb.CustodyHoldResponse, error) {
	q, err := asked(ctx, req.StudyInstanceUid, req.By, req.Why)
	if err != nil {
		return nil, err
	}
	kept, err := c.custodian.Hold(ctx, req.HoldName, q)
	if err != nil {
		return nil, err
	}
	return &pb.CustodyHoldResponse{Kept: keptOf(&kept)}, nil
}

// Release implements pb.CustodyServer.
func (c *custody) Release(ctx context.Context, req *pb.CustodyReleaseRequest) (*pb.CustodyReleaseResponse, error) {
	q, err := asked(ctx, req.StudyInstanceUid, req.By, req.Why)
	if err != nil {
		return nil, err
	}
	kept, err := c.custodian.Release(ctx, req.HoldName, q)
	if err != nil {
		return nil, err
	}
	return &pb.CustodyReleaseResponse{Kept: keptOf(&kept)}, nil
}

// GetKept implements pb.CustodyServer.
func (c *custody) GetKept(ctx context.Context, req *pb.CustodyGetKeptRequest) (*pb.CustodyGetKeptResponse, error) {
	if err := checkUID("study_instance_uid", req.StudyInstanceUid); err != nil {
		return nil, err
	}
	kept, err := c.custodian.Kept(ctx, req.StudyInstanceUid)
	if err != nil {
		return nil, err
	}
	return &pb.CustodyGetKeptResponse{Kept: keptOf(&kept)}, nil
}

// SetRetention implements pb.CustodyServer.
func (c *custody) SetRetention(ctx context.Context, req *pb.CustodySetRetentionRequest) (*pb.CustodySetRetentionResponse, error) {
	q := gateway.Request{By: forTheRecord(ctx, req.By), Why: req.Why}
	if req.StudyInstanceUid != "" {
		var err error
		if q, err = asked(ctx, req.StudyInstanceUid, req.By, req.Why); err != nil {
			return nil, err
		}
	}
	var years *int
	if req.Years != nil {
		n := int(*req.Years)
		years = &n
	}
	kept, err := c.custodian.Retain(ctx, years, q)
	if err != nil {
		return nil, err
	}
	answer := &pb.CustodySetRetentionResponse{}
	if req.StudyInstanceUid != "" {
		answer.Kept = keptOf(&kept)
	}
	return answer, nil
}

// GetRetention implements pb.CustodyServer.
func (c *custody) GetRetention(ctx context.Context, _ *pb.CustodyGetRetentionRequest) (*pb.CustodyGetRetentionResponse, error) {
	years, err := c.custodian.Retention(ctx)
	if err != nil {
		return nil, err
	}
	return &pb.CustodyGetRetentionResponse{Years: int32(years)}, nil //nolint:gosec // at most index.MaxRetention
}

// ListHolds implements pb.CustodyServer.
func (c *custody) ListHolds(ctx context.Context, req *pb.CustodyListHoldsRequest) (*pb.CustodyListHoldsResponse, error) {
	size, err := pageSize(req.PageSize, usualRecords)
	if err != nil {
		return nil, err
	}
	question := []byte("holds")
	var after string
	if err := readToken(req.PageToken, question, &after); err != nil {
		return nil, err
	}
	all, err := c.custodian.OnHold(ctx, after, size)
	if err != nil {
		return nil, err
	}
	answer := &pb.CustodyListHoldsResponse{}
	for _, p := range all {
		answer.Studies = append(answer.Studies, &pb.StudyHolds{StudyInstanceUid: p.StudyInstanceUID, Holds: holdsOf(p.Holds)})
	}
	if len(all) == size {
		answer.NextPageToken, err = writeToken(question, all[size-1].StudyInstanceUID)
	}
	return answer, err
}

func deletionOf(r *index.DeletionRecord) *pb.Deletion {
	return &pb.Deletion{
		DeletionId:        r.ID,
		StudyInstanceUid:  r.StudyInstanceUID,
		SeriesInstanceUid: r.SeriesInstanceUID,
		State:             deletionState(r.State),
		Marked:            actOf(r.Marked),
		Due:               timeOf(r.Due),
		Undone:            actOf(r.Undone),
		Decided:           timeOf(r.Decided),
		Removed:           timeOf(r.Removed),
		Series:            r.Series,
		Instances:         r.Instances,
	}
}

func deletionStatus(s *gateway.DeletionStatus) *pb.Deletion {
	d := deletionOf(&s.DeletionRecord)
	d.PacksLeft, d.PacksShared = int64(s.Left), int64(s.Shared)
	if s.Kept != nil {
		d.Kept = keptOf(s.Kept)
	}
	return d
}

func deletionState(s index.DeletionState) pb.DeletionState {
	switch s {
	case index.DeletionMarked:
		return pb.DeletionState_DELETION_STATE_MARKED
	case index.DeletionDecided:
		return pb.DeletionState_DELETION_STATE_DECIDED
	case index.DeletionRemoved:
		return pb.DeletionState_DELETION_STATE_REMOVED
	case index.DeletionUndone:
		return pb.DeletionState_DELETION_STATE_UNDONE
	}
	return pb.DeletionState_DELETION_STATE_UNSPECIFIED
}

// actOf is an act; one that was not done is none.
func actOf(a index.Act) *pb.Act {
	if a.At == 0 {
		return nil
	}
	return &pb.Act{Time: timeOf(a.At), By: text(a.By), Why: text(a.Why)}
}

func keptOf(k *index.Kept) *pb.Kept {
	return &pb.Kept{Holds: holdsOf(k.Holds), RetentionYears: int32(k.Years), RetainedUntil: timeOf(k.Until)} //nolint:gosec // at most index.MaxRetention
}

func holdsOf(holds []index.Hold) (out []*pb.Hold) {
	for _, h := range holds {
		out = append(out, &pb.Hold{Name: h.Name, Set: actOf(h.Act)})
	}
	return out
}
