package gateway

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/esante-alsace/cigogne/gateway/dmp/ins"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// Oppose says whether a patient, as a site knows them or by their national
// number, does not want to be in the shared record. A site's issuer is named by
// its identifier or its name. It counts from when it returns: nothing is begun
// for them afterwards. What is said already changes nothing.
func (p *Patients) Oppose(ctx context.Context, patient index.PatientKey, opposes bool, by, why string) error {
	if oid := patient.Issuer; len(ins.Known(oid)) > 0 {
		n, err := ins.Parse(patient.PatientID, oid, p.o.Realm)
		if err != nil {
			return err
		}
		patient = index.PatientKey{Issuer: n.OID, PatientID: n.Matricule}
		if by == "" || len(by) > mostKey {
			return fmt.Errorf("%w: who says so must be named", storage.ErrInvalid)
		}
	} else if err := checkLocal(&patient, by); err != nil {
		return err
	}
	// What another node was told a moment ago may be the contrary.
	if err := p.o.Indexer.surely(ctx); err != nil {
		return err
	}
	issuers, err := p.o.Sites.issuersOf(patient.Issuer)
	for _, issuer := range issuers {
		if err == nil {
			patient.Issuer = issuer
			err = p.oppose(ctx, patient, opposes, by, why)
		}
	}
	return err
}

// oppose is Oppose by one name of the patient.
func (p *Patients) oppose(ctx context.Context, patient index.PatientKey, opposes bool, by, why string) error {
	is, err := p.o.Index.Opposes(ctx, patient)
	if err != nil || is == opposes {
		return err
	}
	change := index.IdentityChange{Name: rand.Text(), Kind: index.IdentityUnopposed, Local: patient, By: by, At: p.o.Now().UnixNano(), Why: clipped(why)}
	if opposes {
		change.Kind = index.IdentityOpposed
	}
	_, err = p.propose(ctx, change)
	return err
}

// Opposes tells whether a patient, as a site knows them or by their national
// number, does not want to be in the shared record.
func (p *Patients) Opposes(ctx context.Context, patient index.PatientKey) (opposes bool, err error) {
	if err := p.o.Indexer.see(ctx); err != nil {
		return false, err
	}
	issuers, err := p.o.Sites.issuersOf(patient.Issuer)
	for _, issuer := range issuers {
		if err == nil && !opposes {
			patient.Issuer = issuer
			opposes, err = p.o.Index.Opposes(ctx, patient)
		}
	}
	return opposes, err
}
