// Package commitment answers for instances: who sent them asks for storage
// commitment (PS3.4 §J), and is told when they are archived, so that it need not
// keep them any longer. What is asked for lies in the index, so that any node
// can go on. See DESIGN.md.
package commitment

import "github.com/esante-alsace/cigogne/storage"

// References is the most instances that one request may name.
const References = 100_000

// Reference names an instance.
type Reference struct {
	SOPClassUID    string
	SOPInstanceUID string
}

// Request asks for the commitment of instances.
type Request struct {
	TransactionUID string
	// Origin is who asks; its Sender is found here.
	Origin     storage.Origin
	References []Reference
}

// Report tells what came of a Request.
type Report struct {
	TransactionUID string
	Committed      []Reference
	Failed         []Failure
}

// Failure is an instance that is not committed.
type Failure struct {
	Reference
	Reason Reason
}

// Reason is a FailureReason (0008,1197) of PS3.3 §C.14.1.1.
type Reason uint16

// The reasons that are given here.
const (
	// ProcessingFailure: it is not archived on enough archives in time, or
	// another instance of the name is kept aside.
	ProcessingFailure Reason = 0x0110
	// NoSuchInstance: it is not there, or not the asker's to know of.
	NoSuchInstance Reason = 0x0112
	// ClassConflict: it is of another SOP class.
	ClassConflict Reason = 0x0119
)
