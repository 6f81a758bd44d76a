package dimse

import (
	"time"

	"github.com/esante-alsace/cigogne/gateway"
)

// Metrics counts what a Server does. Implementations are safe for use by many
// goroutines and do not block.
type Metrics interface {
	// Association counts what became of a connection: once OutcomeAccepted
	// and later how it ended, or once why it did not come to be.
	Association(outcome string)
	// Operation counts a DIMSE operation that was answered: its command, such
	// as "C-STORE", the bytes of its data set, and how long it took from its
	// command set to its response.
	Operation(command string, status Status, bytes int64, took time.Duration)
	// Suboperation counts a C-STORE of a C-GET or C-MOVE, such as "C-MOVE", and
	// the bytes of its data set when it did not fail.
	Suboperation(command string, failed bool, bytes int64)
	// Refused counts an instance that came by a transport, such as "dimse",
	// and was not stored.
	Refused(transport string, why gateway.Refusal)
}

// The outcomes of an association; a rejection is named by
// pdu.AssociateRJ.String, such as "local-limit-exceeded".
const (
	OutcomeAccepted = "accepted"
	OutcomeReleased = "released"
	OutcomeAborted  = "aborted by peer"
	OutcomeRefused  = "aborted by us" // the peer broke the protocol
	OutcomeIdle     = "idle"
	OutcomeStopped  = "stopped" // the Server ended
	OutcomeLost     = "lost"    // the connection broke
	OutcomeSilent   = "no request"
)

type noMetrics struct{}

func (noMetrics) Association(string)                             {}
func (noMetrics) Operation(string, Status, int64, time.Duration) {}
func (noMetrics) Suboperation(string, bool, int64)               {}
func (noMetrics) Refused(string, gateway.Refusal)                {}
