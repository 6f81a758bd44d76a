package dimse

import (
	"errors"
	"fmt"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
)

// Status is a DIMSE status (PS3.7 Annex C, PS3.4 §B.2.3).
type Status uint16

// The statuses that are answered here.
const (
	StatusSuccess               Status = 0x0000
	StatusProcessingFailure     Status = 0x0110
	StatusNoSuchInstance        Status = 0x0112
	StatusInvalidArgument       Status = 0x0115
	StatusNoSuchClass           Status = 0x0118
	StatusSOPClassNotSupported  Status = 0x0122
	StatusNoSuchAction          Status = 0x0123
	StatusNotAuthorized         Status = 0x0124
	StatusUnrecognizedOperation Status = 0x0211
	StatusResourceLimitation    Status = 0x0213
	StatusOutOfResources        Status = 0xA700
	StatusTooManyMatches        Status = 0xA701 // of a C-GET or C-MOVE
	StatusCannotSend            Status = 0xA702 // none of its instances
	StatusUnknownDestination    Status = 0xA801
	StatusMismatch              Status = 0xA900
	StatusKeptAside             Status = 0xB000 // a warning: coercion of data elements
	StatusSuboperationsFailed   Status = 0xB000 // a warning: one or more of them, or warned
	StatusCannotUnderstand      Status = 0xC000
	StatusAmbiguous             Status = 0xC001 // a PatientID that is several patients'
	StatusCanceled              Status = 0xFE00 // by a C-CANCEL-RQ
	StatusPending               Status = 0xFF00
	StatusPendingWarning        Status = 0xFF01 // optional keys are not supported
)

// Failed tells whether the operation was not performed: anything but success,
// warnings and what tells of neither.
func (s Status) Failed() bool {
	return s != StatusSuccess && s != StatusPending && s != StatusPendingWarning && s>>12 != 0xB && s != 0x0001 && s != 0x0107 && s != 0x0116
}

// String is the status as four hexadecimal digits.
func (s Status) String() string { return fmt.Sprintf("%04X", uint16(s)) }

// verdict is a status with the text that goes with it. The text is one of
// ours: an error's own could say something about a patient. It has at most 64
// characters, as ErrorComment is an LO.
type verdict struct {
	status  Status
	comment string
}

// judge maps what became of an instance to a status.
func judge(receipt gateway.Receipt, err error) verdict {
	switch {
	case err == nil && receipt.Standing == gateway.Conflict:
		return verdict{StatusKeptAside, "kept aside as a conflict"}
	case err == nil:
		return verdict{status: StatusSuccess}
	case errors.Is(err, storage.ErrFull):
		return verdict{StatusOutOfResources, "no space left, try again later"}
	case errors.Is(err, storage.ErrUnavailable):
		return verdict{StatusOutOfResources, "cannot store now, try again later"}
	case errors.Is(err, storage.ErrMismatch):
		return verdict{StatusMismatch, "data set does not match the request"}
	case errors.Is(err, storage.ErrTooLarge):
		return verdict{StatusCannotUnderstand, "data set is larger than the limit"}
	case errors.Is(err, storage.ErrInvalid):
		return verdict{StatusCannotUnderstand, "data set is not well-formed"}
	case errors.Is(err, storage.ErrForbidden):
		return verdict{StatusNotAuthorized, "not authorized"}
	default:
		return verdict{StatusProcessingFailure, "cannot store"}
	}
}

// refusalOf is the reason for which a request is refused by itself.
func refusalOf(s Status) gateway.Refusal {
	switch s {
	case StatusNotAuthorized:
		return gateway.RefusedForbidden
	case StatusSOPClassNotSupported, StatusUnrecognizedOperation:
		return gateway.RefusedUnsupported
	default:
		return gateway.RefusedInvalid
	}
}
