// Package pdu reads and writes the Protocol Data Units of the DICOM upper
// layer (PS3.8 §9.3). The associating ones are small and are decoded whole;
// P-DATA-TF is streamed through a Reader and never held.
//
// Every length that a peer states is checked against what is there before
// anything is allocated for it.
package pdu

import (
	"encoding/binary"
	"fmt"

	"github.com/esante-alsace/cigogne/storage"
)

// Type is the first byte of a PDU (PS3.8 §9.3.1).
type Type byte

// The seven PDUs.
const (
	TypeAssociateRQ Type = 0x01
	TypeAssociateAC Type = 0x02
	TypeAssociateRJ Type = 0x03
	TypeDataTF      Type = 0x04
	TypeReleaseRQ   Type = 0x05
	TypeReleaseRP   Type = 0x06
	TypeAbort       Type = 0x07
)

// String is the PDU's name as PS3.8 writes it.
func (t Type) String() string {
	switch t {
	case TypeAssociateRQ:
		return "A-ASSOCIATE-RQ"
	case TypeAssociateAC:
		return "A-ASSOCIATE-AC"
	case TypeAssociateRJ:
		return "A-ASSOCIATE-RJ"
	case TypeDataTF:
		return "P-DATA-TF"
	case TypeReleaseRQ:
		return "A-RELEASE-RQ"
	case TypeReleaseRP:
		return "A-RELEASE-RP"
	case TypeAbort:
		return "A-ABORT"
	default:
		return fmt.Sprintf("PDU type %02XH", byte(t))
	}
}

const (
	// HeaderLength is the length of what precedes every PDU's variable field:
	// type, a reserved byte, and the length of what follows.
	HeaderLength = 6
	// controlLength is the PDU length of the four PDUs of fixed length.
	controlLength = 4
	// MaxContexts is the number of presentation contexts that fit into one
	// association: their ids are the odd numbers of a byte (PS3.8 §9.3.2.2).
	MaxContexts = 128
)

// Header is the head of a PDU.
type Header struct {
	Type   Type
	Length uint32 // of what follows the header
}

// ParseHeader reads a PDU's head. Any six bytes are one.
func ParseHeader(b [HeaderLength]byte) Header {
	return Header{Type: Type(b[0]), Length: binary.BigEndian.Uint32(b[2:])}
}

// AppendHeader appends the head of a PDU to b.
func AppendHeader(b []byte, h Header) []byte {
	return binary.BigEndian.AppendUint32(append(b, byte(h.Type), 0), h.Length)
}

// Error says which part of the upper layer protocol the peer broke. It wraps
// storage.ErrInvalid.
type Error struct {
	// Reason is what an A-ABORT by the service provider gives as its reason.
	Reason AbortReason
	What   string
}

// Error implements error.
func (e *Error) Error() string { return "DICOM upper layer: " + e.What }

// Unwrap makes the error one of storage.ErrInvalid.
func (e *Error) Unwrap() error { return storage.ErrInvalid }

// invalid is an error about a value that the PDU may not have.
func invalid(format string, args ...any) error {
	return &Error{Reason: ReasonInvalidParameter, What: fmt.Sprintf(format, args...)}
}
