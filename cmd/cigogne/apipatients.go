package main

import (
	"context"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage/index"
)

// apiPatients are the patients as the API asks for them, which knows no
// national numbering.
type apiPatients struct{ *gateway.Patients }

// NumberOf implements rpc.Patients.
func (p apiPatients) NumberOf(ctx context.Context, local index.PatientKey) (index.PatientKey, error) {
	n, err := p.Number(ctx, local)
	return index.PatientKey{Issuer: n.OID, PatientID: n.Matricule}, err
}
