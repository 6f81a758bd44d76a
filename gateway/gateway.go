// Package gateway holds the use cases, whichever transport asks: Store,
// Search, Retrieve and Archive. It knows the stores and no protocol.
package gateway

import (
	"context"
	"io"

	"github.com/esante-alsace/cigogne/storage"
)

// Form is the form in which a Data Set arrives.
type Form int

const (
	// DataSet is the bare Data Set, as a C-STORE carries it.
	DataSet Form = iota + 1
	// Part10 is a PS3.10 file: preamble, File Meta Information, Data Set.
	Part10
)

// Incoming is one instance on its way in.
type Incoming struct {
	// Body yields the bytes and ends with io.EOF after the last; any other
	// error means that the sender failed, and nothing is kept.
	Body io.Reader
	Form Form
	// TransferSyntaxUID is the negotiated one; for Part10 it is empty and
	// read from the File Meta Information.
	TransferSyntaxUID string
	// What was announced and must be so: empty means not announced. A Data
	// Set that differs is refused with storage.ErrMismatch.
	SOPClassUID      string
	SOPInstanceUID   string
	StudyInstanceUID string
	// Origin is by which way it comes; its Sender is found here.
	Origin storage.Origin
	// Credential is the bearer token that the sender showed, or empty. It is
	// not kept.
	Credential string
}

// Standing tells what became of an instance that was received.
type Standing int

const (
	// Stored: it is new, and durable.
	Stored Standing = iota + 1
	// Duplicate: the very same bytes are durable already.
	Duplicate
	// Conflict: it is durable, but kept aside, because another Data Set has
	// its SOPInstanceUID, or its study belongs to another patient.
	Conflict
)

// Receipt names an instance that is durable.
type Receipt struct {
	Key         storage.InstanceKey
	SOPClassUID string
	Digest      storage.Digest
	Standing    Standing
}

// Pending is an instance whose bytes were all read and found well-formed, but
// which is not durable yet.
type Pending interface {
	// Wait returns when the instance is durable: only then may success be
	// answered. It must be called; an error means that it is not durable.
	Wait(ctx context.Context) (Receipt, error)
	// Received names the instance as far as it is known before it is durable.
	Received() Receipt
}
