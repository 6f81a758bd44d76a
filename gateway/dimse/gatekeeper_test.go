package dimse_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/esante-alsace/cigogne/gateway/access"
	"github.com/esante-alsace/cigogne/gateway/dimse"
	"github.com/esante-alsace/cigogne/storage"
)

// nobody lets no one in.
type nobody struct{}

func (nobody) Permit(_ context.Context, who access.Caller, op access.Operation, _ string) error {
	return fmt.Errorf("%w: %s may not %s", storage.ErrForbidden, who.CallingAETitle, op)
}

// onlyAssociate lets everyone in and do nothing.
type onlyAssociate struct{ nobody }

func (g onlyAssociate) Permit(ctx context.Context, who access.Caller, op access.Operation, resource string) error {
	if op == access.Associate && who.Transport == "dimse" && who.CallingAETitle == "TESTER" && who.CalledAETitle == "CIGOGNE" && who.RemoteAddr != "" {
		return nil
	}
	return g.nobody.Permit(ctx, who, op, resource)
}

func TestGatekeeperIsInTheWayOfEveryOperation(t *testing.T) {
	m := newMemory()
	addr, _ := serve(t, m, func(c *dimse.Config) { c.Gatekeeper = onlyAssociate{} })
	a := dial(t, addr, nil)
	if status, err := a.Echo(t.Context()); err != nil || status != dimse.StatusNotAuthorized {
		t.Errorf("Echo: %s, %v", status, err)
	}
	if status, err := a.Store(t.Context(), ct("1.2.3", pattern(200_000))); err != nil || status != dimse.StatusNotAuthorized {
		t.Errorf("Store: %s, %v", status, err)
	}
	if len(m.incoming) != 0 {
		t.Error("the Receiver was asked")
	}
}
