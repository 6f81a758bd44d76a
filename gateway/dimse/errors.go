package dimse

import (
	"errors"
	"fmt"

	"github.com/esante-alsace/cigogne/gateway/dimse/pdu"
)

// How an association ends other than by release.
var (
	// ErrAborted: the peer sent A-ABORT.
	ErrAborted = errors.New("the peer aborted the association")
	// ErrLost: the connection broke.
	ErrLost = errors.New("the connection was lost")
	// ErrIdle: the peer was silent for too long.
	ErrIdle = errors.New("the peer was silent for too long")
	// ErrClosed: the association is over, or being released.
	ErrClosed = errors.New("the association is closed")
	// ErrRejected: the peer did not accept the association; see RejectedError.
	ErrRejected = errors.New("the association was rejected")
	// ErrNoContext: no presentation context was accepted for the request.
	ErrNoContext = errors.New("no presentation context was accepted for this")

	errStopped = errors.New("the server is stopping")
)

// RejectedError is the peer's A-ASSOCIATE-RJ. It wraps ErrRejected.
type RejectedError struct{ pdu.AssociateRJ }

// Error implements error.
func (e *RejectedError) Error() string {
	return fmt.Sprintf("the association was rejected: %s (%d/%d/%d)", e.String(), e.Result, e.Source, e.Reason)
}

// Unwrap makes it an ErrRejected.
func (e *RejectedError) Unwrap() error { return ErrRejected }

// misuse is an error of the message exchange (PS3.7), which the service user
// answers with A-ABORT.
type misuse struct{ what string }

func (e *misuse) Error() string { return "DIMSE: " + e.what }

func misused(format string, args ...any) error { return &misuse{fmt.Sprintf(format, args...)} }

// outcome names the end of an association.
func outcome(err error) string {
	switch {
	case err == nil:
		return OutcomeReleased
	case errors.Is(err, ErrAborted):
		return OutcomeAborted
	case errors.Is(err, ErrLost):
		return OutcomeLost
	case errors.Is(err, ErrIdle):
		return OutcomeIdle
	case errors.Is(err, errStopped):
		return OutcomeStopped
	default:
		return OutcomeRefused
	}
}
