package pdu

import "fmt"

// AssociateRJ is A-ASSOCIATE-RJ (PS3.8 §9.3.4).
type AssociateRJ struct {
	Result RejectResult
	Source RejectSource
	Reason byte // its meaning depends on Source
}

// RejectResult tells whether it is worth asking again.
type RejectResult byte

// The results of PS3.8 Table 9-21.
const (
	RejectedPermanent RejectResult = 1
	RejectedTransient RejectResult = 2
)

// RejectSource tells who rejects.
type RejectSource byte

// The sources of PS3.8 Table 9-21.
const (
	SourceServiceUser  RejectSource = 1
	SourceACSE         RejectSource = 2
	SourcePresentation RejectSource = 3
)

// The reasons of PS3.8 Table 9-21, as whole A-ASSOCIATE-RJ.

// RejectCalledAETitle is 'called-AE-title-not-recognized'.
func RejectCalledAETitle() AssociateRJ {
	return AssociateRJ{RejectedPermanent, SourceServiceUser, 7}
}

// RejectCallingAETitle is 'calling-AE-title-not-recognized'.
func RejectCallingAETitle() AssociateRJ {
	return AssociateRJ{RejectedPermanent, SourceServiceUser, 3}
}

// RejectApplicationContext is 'application-context-name-not-supported'.
func RejectApplicationContext() AssociateRJ {
	return AssociateRJ{RejectedPermanent, SourceServiceUser, 2}
}

// RejectProtocolVersion is 'protocol-version-not-supported'.
func RejectProtocolVersion() AssociateRJ {
	return AssociateRJ{RejectedPermanent, SourceACSE, 2}
}

// RejectCongestion is 'temporary-congestion'.
func RejectCongestion() AssociateRJ {
	return AssociateRJ{RejectedTransient, SourcePresentation, 1}
}

// RejectLimit is 'local-limit-exceeded'.
func RejectLimit() AssociateRJ {
	return AssociateRJ{RejectedTransient, SourcePresentation, 2}
}

// String names the reason as PS3.8 does.
func (rj AssociateRJ) String() string {
	switch [2]byte{byte(rj.Source), rj.Reason} {
	case [2]byte{1, 1}, [2]byte{2, 1}:
		return "no-reason-given"
	case [2]byte{1, 2}:
		return "application-context-name-not-supported"
	case [2]byte{1, 3}:
		return "calling-AE-title-not-recognized"
	case [2]byte{1, 7}:
		return "called-AE-title-not-recognized"
	case [2]byte{2, 2}:
		return "protocol-version-not-supported"
	case [2]byte{3, 1}:
		return "temporary-congestion"
	case [2]byte{3, 2}:
		return "local-limit-exceeded"
	default:
		return fmt.Sprintf("result %d source %d reason %d", rj.Result, rj.Source, rj.Reason)
	}
}

// Append appends the PDU to b.
func (rj AssociateRJ) Append(b []byte) []byte {
	b = AppendHeader(b, Header{TypeAssociateRJ, controlLength})
	return append(b, 0, byte(rj.Result), byte(rj.Source), rj.Reason)
}

// DecodeAssociateRJ decodes what follows the header of an A-ASSOCIATE-RJ.
func DecodeAssociateRJ(body []byte) (AssociateRJ, error) {
	if len(body) != controlLength {
		return AssociateRJ{}, invalid("A-ASSOCIATE-RJ of length %d", len(body))
	}
	return AssociateRJ{RejectResult(body[1]), RejectSource(body[2]), body[3]}, nil
}

// Abort is A-ABORT (PS3.8 §9.3.8).
type Abort struct {
	Source AbortSource
	Reason AbortReason // means something only from the service provider
}

// AbortSource tells who aborts.
type AbortSource byte

// The sources of PS3.8 Table 9-26.
const (
	AbortServiceUser     AbortSource = 0
	AbortServiceProvider AbortSource = 2
)

// AbortReason is the reason of an abort by the service provider.
type AbortReason byte

// The reasons of PS3.8 Table 9-26.
const (
	ReasonNotSpecified          AbortReason = 0
	ReasonUnrecognizedPDU       AbortReason = 1
	ReasonUnexpectedPDU         AbortReason = 2
	ReasonUnrecognizedParameter AbortReason = 4
	ReasonUnexpectedParameter   AbortReason = 5
	ReasonInvalidParameter      AbortReason = 6
)

// String names the reason as PS3.8 does.
func (r AbortReason) String() string {
	switch r {
	case ReasonNotSpecified:
		return "reason-not-specified"
	case ReasonUnrecognizedPDU:
		return "unrecognized-PDU"
	case ReasonUnexpectedPDU:
		return "unexpected-PDU"
	case ReasonUnrecognizedParameter:
		return "unrecognized-PDU-parameter"
	case ReasonUnexpectedParameter:
		return "unexpected-PDU-parameter"
	case ReasonInvalidParameter:
		return "invalid-PDU-parameter-value"
	default:
		return fmt.Sprintf("reason %d", byte(r))
	}
}

// Append appends the PDU to b.
func (a Abort) Append(b []byte) []byte {
	b = AppendHeader(b, Header{TypeAbort, controlLength})
	return append(b, 0, 0, byte(a.Source), byte(a.Reason))
}

// DecodeAbort decodes what follows the header of an A-ABORT.
func DecodeAbort(body []byte) (Abort, error) {
	if len(body) != controlLength {
		return Abort{}, invalid("A-ABORT of length %d", len(body))
	}
	return Abort{AbortSource(body[2]), AbortReason(body[3])}, nil
}

// AppendReleaseRQ appends an A-RELEASE-RQ to b (PS3.8 §9.3.6).
func AppendReleaseRQ(b []byte) []byte {
	return append(AppendHeader(b, Header{TypeReleaseRQ, controlLength}), 0, 0, 0, 0)
}

// AppendReleaseRP appends an A-RELEASE-RP to b (PS3.8 §9.3.7).
func AppendReleaseRP(b []byte) []byte {
	return append(AppendHeader(b, Header{TypeReleaseRP, controlLength}), 0, 0, 0, 0)
}

// CheckRelease tells whether what follows the header is that of an
// A-RELEASE-RQ or A-RELEASE-RP.
func CheckRelease(body []byte) error {
	if len(body) != controlLength {
		return invalid("A-RELEASE of length %d", len(body))
	}
	return nil
}
