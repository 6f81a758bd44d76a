package dimse

import (
	"context"
	"fmt"
	"time"

	"github.com/esante-alsace/cigogne/gateway/commitment"
)

// Reporter tells peers what came of their requests for storage commitment, on an
// association for each report.
type Reporter struct {
	ARTIM time.Duration // as SCUConfig has it
}

// reportTimeout is how long a peer may take to answer one report.
const reportTimeout = time.Minute

// Report implements commitment.Reporter.
func (r Reporter) Report(ctx context.Context, to commitment.Peer, report commitment.Report) error {
	a, err := Dial(ctx, to.Address, SCUConfig{
		CallingAETitle: to.CalledAETitle, CalledAETitle: to.AETitle, Contexts: CommitmentContexts(),
		ARTIM: r.ARTIM, ResponseTimeout: reportTimeout,
	})
	if err != nil {
		return err
	}
	defer a.Abort()
	status, err := a.Report(ctx, report)
	if err != nil {
		return err
	}
	_ = a.Release(ctx) // it has answered
	if status.Failed() {
		return fmt.Errorf("the report was answered with status %s", status)
	}
	return nil
}
