package gateway

import (
	"context"
	"fmt"
	"strings"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// recorded is storage.ErrInvalid for a patient of an issuer that sites have as a
// name beside an identifier, unless some study has the name: what they send is
// recorded under the identifier, and would not be found by the link.
func (p *Patients) recorded(ctx context.Context, local index.PatientKey) error {
	var identifiers []string
	for _, site := range p.o.Sites.List() {
		switch is := site.Issuer; local.Issuer {
		case is.Key():
			return nil
		case is.Name:
			identifiers = append(identifiers, is.Key())
		}
	}
	if len(identifiers) == 0 {
		return nil
	}
	for _, err := range p.o.Index.Search(ctx, index.Query{Level: index.Study, Patients: []index.PatientKey{local}, Limit: 1}) {
		return err // there is one
	}
	return fmt.Errorf("%w: no study of this patient has the issuer %.64q, a name for which its site records %s: say that instead",
		storage.ErrInvalid, local.Issuer, strings.Join(identifiers, ", "))
}
