package rpc

import (
	"context"
	"fmt"

	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// Patients is whose identifiers are one person's.
type Patients interface {
	Undo(ctx context.Context, local index.PatientKey, by, why string) (index.IdentityChange, error)
	Settle(ctx context.Context, name string, link bool, by, why string) (index.IdentityChange, error)
	Queue(ctx context.Context, after int64, limit int) ([]index.IdentityChange, error)
	History(ctx context.Context, local index.PatientKey, after int64, limit int) ([]index.IdentityChange, error)
	// NumberOf is the national number, with its OID as the issuer.
	NumberOf(ctx context.Context, local index.PatientKey) (index.PatientKey, error)
	Identities(ctx context.Context, matricule, oid string) ([]index.PatientKey, error)
}

// patients is the service Patients.
type patients struct {
	pb.UnimplementedPatientsServer
	patients Patients
}

func localKey(l *pb.LocalIdentity) (index.PatientKey, error) {
	if l.GetPatientId() == "" {
		return index.PatientKey{}, inField("local.patient_id", fmt.Errorf("%w: no patient_id", storage.ErrInvalid))
	}
	return index.PatientKey{Issuer: l.GetIssuer(), PatientID: l.GetPatientId()}, nil
}

// GetLink implements pb.PatientsServer.
func (p *patients) GetLink(ctx context.Context, req *pb.PatientsGetLinkRequest) (*pb.PatientsGetLinkResponse, error) {
	local, err := localKey(req.Local)
	if err != nil {
		return nil, err
	}
	n, err := p.patients.NumberOf(ctx, local)
	if err != nil {
		return nil, err
	}
	return &pb.PatientsGetLinkResponse{Number: &pb.NationalNumber{Oid: n.Issuer, Matricule: n.PatientID}}, nil
}

// ListIdentities implements pb.PatientsServer.
func (p *patients) ListIdentities(ctx context.Context, req *pb.PatientsListIdentitiesRequest) (*pb.PatientsListIdentitiesResponse, error) {
	found, err := p.patients.Identities(ctx, req.Number.GetMatricule(), req.Number.GetOid())
	if err != nil {
		return nil, err
	}
	answer := &pb.PatientsListIdentitiesResponse{}
	for _, k := range found {
		answer.Identities = append(answer.Identities, localOf(k))
	}
	return answer, nil
}

// ListChanges implements pb.PatientsServer.
func (p *patients) ListChanges(ctx context.Context, req *pb.PatientsListChangesRequest) (*pb.PatientsListChangesResponse, error) {
	local, err := localKey(req.Local)
	if err != nil {
		return nil, err
	}
	changes, next, err := changesPage(req.PageSize, req.PageToken, local.Issuer+"\n"+local.PatientID, func(after int64, limit int) ([]index.IdentityChange, error) {
		return p.patients.History(ctx, local, after, limit)
	})
	return &pb.PatientsListChangesResponse{Changes: changes, NextPageToken: next}, err
}

// ListQueue implements pb.PatientsServer.
func (p *patients) ListQueue(ctx context.Context, req *pb.PatientsListQueueRequest) (*pb.PatientsListQueueResponse, error) {
	changes, next, err := changesPage(req.PageSize, req.PageToken, "queue", func(after int64, limit int) ([]index.IdentityChange, error) {
		return p.patients.Queue(ctx, after, limit)
	})
	return &pb.PatientsListQueueResponse{Changes: changes, NextPageToken: next}, err
}

// changesPage is a page of changes, in the order of their sequence.
func changesPage(asked int32, from, of string, list func(after int64, limit int) ([]index.IdentityChange, error)) (out []*pb.IdentityChange, next string, err error) {
	size, err := pageSize(asked, usualRecords)
	if err != nil {
		return nil, "", err
	}
	question, err := questionOf(&pb.PatientsListQueueRequest{PageToken: of})
	if err != nil {
		return nil, "", err
	}
	var after int64
	if err := readToken(from, question, &after); err != nil {
		return nil, "", err
	}
	changes, err := list(after, size)
	if err != nil {
		return nil, "", err
	}
	for i := range changes {
		out = append(out, changeOf(&changes[i]))
	}
	if len(changes) == size {
		next, err = writeToken(question, changes[size-1].Sequence)
	}
	return out, next, err
}

// Settle implements pb.PatientsServer.
func (p *patients) Settle(ctx context.Context, req *pb.PatientsSettleRequest) (*pb.PatientsSettleResponse, error) {
	made, err := p.patients.Settle(ctx, req.Name, req.Link, forTheRecord(ctx, req.By), req.Why)
	if err != nil {
		return nil, err
	}
	return &pb.PatientsSettleResponse{Change: changeOf(&made)}, nil
}

// Unlink implements pb.PatientsServer.
func (p *patients) Unlink(ctx context.Context, req *pb.PatientsUnlinkRequest) (*pb.PatientsUnlinkResponse, error) {
	local, err := localKey(req.Local)
	if err != nil {
		return nil, err
	}
	made, err := p.patients.Undo(ctx, local, forTheRecord(ctx, req.By), req.Why)
	if err != nil {
		return nil, err
	}
	return &pb.PatientsUnlinkResponse{Change: changeOf(&made)}, nil
}

func localOf(k index.PatientKey) *pb.LocalIdentity {
	return &pb.LocalIdentity{Issuer: k.Issuer, PatientId: k.PatientID}
}

func changeOf(c *index.IdentityChange) *pb.IdentityChange {
	n := c.National()
	return &pb.IdentityChange{
		Name: c.Name, Sequence: c.Sequence, Kind: identityKind(c.Kind), Local: localOf(c.Local),
		Number: &pb.NationalNumber{Oid: n.Issuer, Matricule: n.PatientID}, Status: c.Status,
		By: text(c.By), Time: timeOf(c.At), Why: text(c.Why), Settles: c.Settles,
	}
}

func identityKind(k index.IdentityKind) pb.IdentityKind {
	switch k {
	case index.IdentityLinked:
		return pb.IdentityKind_IDENTITY_KIND_LINKED
	case index.IdentityUndone:
		return pb.IdentityKind_IDENTITY_KIND_UNDONE
	case index.IdentityQueued:
		return pb.IdentityKind_IDENTITY_KIND_QUEUED
	case index.IdentityDismissed:
		return pb.IdentityKind_IDENTITY_KIND_DISMISSED
	case index.IdentityOpposed:
		return pb.IdentityKind_IDENTITY_KIND_OPPOSED
	case index.IdentityUnopposed:
		return pb.IdentityKind_IDENTITY_KIND_UNOPPOSED
	}
	return pb.IdentityKind_IDENTITY_KIND_UNSPECIFIED
}
