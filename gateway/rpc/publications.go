package rpc

import (
	"context"

	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
	"github.com/esante-alsace/cigogne/storage/index"
)

// Publications is what becomes of manifests in the shared record.
type Publications interface {
	// Publication is storage.ErrNotFound for a study never heard of.
	Publication(ctx context.Context, study string) (*index.Outgoing, error)
	// Publications lists at most limit studies for which something is to be
	// done, or was refused, behind a StudyInstanceUID.
	Publications(ctx context.Context, after string, limit int) ([]index.Outgoing, error)
	// Retry has a study seen to now, also when it was refused.
	Retry(ctx context.Context, study, by string) (*index.Outgoing, error)
}

// publications is the service Publications.
type publications struct {
	pb.UnimplementedPublicationsServer
	publications Publications
}

// List implements pb.PublicationsServer.
func (p *publications) List(ctx context.Context, req *pb.PublicationsListRequest) (*pb.PublicationsListResponse, error) {
	size, err := pageSize(req.PageSize, usualRecords)
	if err != nil {
		return nil, err
	}
	question := []byte("publications")
	var after string
	if err := readToken(req.PageToken, question, &after); err != nil {
		return nil, err
	}
	all, err := p.publications.Publications(ctx, after, size)
	if err != nil {
		return nil, err
	}
	answer := &pb.PublicationsListResponse{}
	for i := range all {
		answer.Publications = append(answer.Publications, publicationOf(&all[i]))
	}
	if len(all) == size {
		answer.NextPageToken, err = writeToken(question, all[size-1].StudyInstanceUID)
	}
	return answer, err
}

// Get implements pb.PublicationsServer.
func (p *publications) Get(ctx context.Context, req *pb.PublicationsGetRequest) (*pb.PublicationsGetResponse, error) {
	if err := checkUID("study_instance_uid", req.StudyInstanceUid); err != nil {
		return nil, err
	}
	o, err := p.publications.Publication(ctx, req.StudyInstanceUid)
	if err != nil {
		return nil, err
	}
	return &pb.PublicationsGetResponse{Publication: publicationOf(o)}, nil
}

// Retry implements pb.PublicationsServer.
func (p *publications) Retry(ctx context.Context, req *pb.PublicationsRetryRequest) (*pb.PublicationsRetryResponse, error) {
	if err := checkUID("study_instance_uid", req.StudyInstanceUid); err != nil {
		return nil, err
	}
	o, err := p.publications.Retry(ctx, req.StudyInstanceUid, forTheRecord(ctx, req.By))
	if err != nil {
		return nil, err
	}
	return &pb.PublicationsRetryResponse{Publication: publicationOf(o)}, nil
}

func publicationOf(o *index.Outgoing) *pb.Publication {
	p := &o.Publication
	out := &pb.Publication{
		StudyInstanceUid: o.StudyInstanceUID, State: publicationState(o), Next: publicationAct(o.Next.Act),
		Manifest: manifestOf(o.Manifest), Published: manifestOf(p.Published), Uncertain: manifestOf(p.Uncertain),
		Attempts: p.Attempts, Trouble: p.Trouble, TroubleSince: timeOf(p.Since), Due: timeOf(max(o.Due, 0)),
	}
	if u := p.Underway; u != nil {
		out.Sending, out.SendingNode, out.SendingSince = publicationAct(u.Act), u.Node, timeOf(u.At)
	}
	return out
}

func publicationState(o *index.Outgoing) pb.PublicationState {
	switch p := &o.Publication; {
	case p.Underway != nil:
		return pb.PublicationState_PUBLICATION_STATE_SENDING
	case o.Due == index.RefusedDue:
		return pb.PublicationState_PUBLICATION_STATE_REFUSED
	case p.Trouble != "" && o.Due >= 0:
		return pb.PublicationState_PUBLICATION_STATE_FAILING
	case o.Due >= 0 && o.Next.Act != index.NoAct:
		return pb.PublicationState_PUBLICATION_STATE_WAITING
	}
	return pb.PublicationState_PUBLICATION_STATE_SETTLED
}

func publicationAct(a index.DeliveryAct) pb.PublicationAct {
	switch a {
	case index.Publish:
		return pb.PublicationAct_PUBLICATION_ACT_PUBLISH
	case index.Replace:
		return pb.PublicationAct_PUBLICATION_ACT_REPLACE
	case index.Withdraw:
		return pb.PublicationAct_PUBLICATION_ACT_WITHDRAW
	case index.NoAct:
	}
	return pb.PublicationAct_PUBLICATION_ACT_UNSPECIFIED
}

func manifestOf(m *index.Manifest) *pb.Manifest {
	if m == nil {
		return nil
	}
	return &pb.Manifest{
		SopInstanceUid: m.SOPInstanceUID, Version: m.Version, Created: timeOf(m.Created),
		Number: &pb.NationalNumber{Oid: m.Number.Issuer, Matricule: m.Number.PatientID},
	}
}
