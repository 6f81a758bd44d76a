package gateway

import (
	"context"

	"github.com/esante-alsace/cigogne/gateway/dmp/ins"
	"github.com/esante-alsace/cigogne/storage/index"
)

// Queue lists at most limit changes that wait for a person, beyond a Sequence.
func (p *Patients) Queue(ctx context.Context, after int64, limit int) ([]index.IdentityChange, error) {
	if err := p.o.Indexer.see(ctx); err != nil {
		return nil, err
	}
	return p.o.Index.QueuedIdentities(ctx, after, limit)
}

// History lists at most limit changes of a local identity, beyond a Sequence.
func (p *Patients) History(ctx context.Context, local index.PatientKey, after int64, limit int) ([]index.IdentityChange, error) {
	if err := p.o.Indexer.see(ctx); err != nil {
		return nil, err
	}
	return p.o.Index.IdentityHistory(ctx, local, after, limit)
}

// Number is what a local identity is linked with; storage.ErrNotFound when it
// is not.
func (p *Patients) Number(ctx context.Context, local index.PatientKey) (ins.Number, error) {
	if err := p.o.Indexer.see(ctx); err != nil {
		return ins.Number{}, err
	}
	n, err := p.o.Index.NumberOf(ctx, local)
	if err != nil || n == (index.PatientKey{}) {
		return ins.Number{}, orNotFound(err, "the identity is not linked")
	}
	return ins.Number{Matricule: n.PatientID, OID: n.Issuer}, nil
}

// Identities lists the local identities that are linked with a number.
func (p *Patients) Identities(ctx context.Context, matricule, oid string) ([]index.PatientKey, error) {
	n, err := ins.Parse(matricule, oid, p.o.Realm)
	if err == nil {
		err = p.o.Indexer.see(ctx)
	}
	if err != nil {
		return nil, err
	}
	return p.o.Index.Linked(ctx, index.PatientKey{Issuer: n.OID, PatientID: n.Matricule})
}
