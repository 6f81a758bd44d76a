package dimse

import (
	"slices"
	"strings"

	"github.com/esante-alsace/cigogne/gateway/dimse/pdu"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

// UIDs that are named in this package.
const (
	// Verification is the SOP class of C-ECHO (PS3.4 §A.4).
	Verification = "1.2.840.10008.1.1"
	// StorageCommitment is the Storage Commitment Push Model SOP class (PS3.4
	// §J.3), storageCommitmentInstance its one, well-known instance.
	StorageCommitment         = "1.2.840.10008.1.20.1"
	storageCommitmentInstance = "1.2.840.10008.1.20.1.1"
	// The Query/Retrieve Information Models of PS3.4 §C.6, and what is done
	// with them.
	PatientRootFind = "1.2.840.10008.5.1.4.1.2.1.1"
	PatientRootMove = "1.2.840.10008.5.1.4.1.2.1.2"
	PatientRootGet  = "1.2.840.10008.5.1.4.1.2.1.3"
	StudyRootFind   = "1.2.840.10008.5.1.4.1.2.2.1"
	StudyRootMove   = "1.2.840.10008.5.1.4.1.2.2.2"
	StudyRootGet    = "1.2.840.10008.5.1.4.1.2.2.3"
	// ImplicitVRLittleEndian is the default transfer syntax (PS3.5 §10.1).
	ImplicitVRLittleEndian = dicom.ImplicitVRLittleEndian
	// ExplicitVRLittleEndian is the usual one (PS3.5 §A.2).
	ExplicitVRLittleEndian = dicom.ExplicitVRLittleEndian

	explicitVRBigEndian = dicom.ExplicitVRBigEndian // retired

	// ImplementationClassUID and ImplementationVersionName say what software
	// this is (PS3.7 §D.3.3.2), the same as in the files that it writes.
	ImplementationClassUID    = dicom.ImplementationClassUID
	ImplementationVersionName = dicom.ImplementationVersionName
)

// standardRoot is the root of the UIDs that the standard itself defines.
const standardRoot = "1.2.840.10008."

// storable tells whether an abstract syntax is taken as a Storage SOP class.
// It is when the standard does not know it as something else: retired,
// future and private classes need no understanding to be stored.
func storable(abstractSyntax string) bool {
	if !storage.ValidUID(abstractSyntax) {
		return false
	}
	rest, standard := strings.CutPrefix(abstractSyntax, standardRoot)
	return !standard || !otherService(rest)
}

// otherService tells whether a UID, without standardRoot, is that of a
// service other than Storage (PS3.6 Annex A). Services mostly have a branch
// of their own, out of which a few storage classes are taken.
func otherService(uid string) bool {
	switch uid {
	case "5.1.1.27", "5.1.1.29", "5.1.1.30", // Stored Print, Hardcopy Grayscale and Color Image
		"5.1.4.34.1", "5.1.4.34.7", "5.1.4.34.10": // RT Beams and Brachy Delivery Instruction
		return false
	case "5.1.4.1.1.200.4", "5.1.4.1.1.200.5", "5.1.4.1.1.200.6", // Protocol Approval FIND, MOVE, GET
		"5.1.4.1.1.201.2", "5.1.4.1.1.201.3", "5.1.4.1.1.201.4", // Inventory FIND, MOVE, GET
		"5.1.4.1.1.201.5", "5.1.4.1.1.201.6", // Inventory Creation, Repository Query
		"5.1.4.31", "5.1.4.33", "5.1.4.41", "5.1.4.42":
		return true
	}
	for branch := range otherBranches() {
		if strings.HasPrefix(uid, branch) {
			return true
		}
	}
	return threefold(uid)
}

// threefold tells of the branches in which .1 is the storage class and .2 to
// .4 are its FIND, MOVE and GET.
func threefold(uid string) bool {
	for _, branch := range []string{"5.1.4.38.", "5.1.4.39.", "5.1.4.43.", "5.1.4.44.", "5.1.4.45."} {
		if last, ok := strings.CutPrefix(uid, branch); ok {
			return last != "1"
		}
	}
	return false
}

func otherBranches() func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, branch := range [...]string{
			"1.",                                               // Verification, Storage Commitment, Media Directory, Event Logging
			"3.1.2.",                                           // Patient, Visit, Study, Results Management; MPPS
			"4.",                                               // service classes
			"5.1.1.",                                           // Print, Media Creation, Display System
			"5.1.4.1.2.",                                       // Query/Retrieve
			"5.1.4.20.",                                        // Defined Procedure Protocol FIND, MOVE, GET
			"5.1.4.31.", "5.1.4.32.", "5.1.4.33.", "5.1.4.34.", // Worklists, UPS, Availability
			"5.1.4.37.", // Relevant Patient Information
			"7.", "8.",  // network and well-known printers
			"10.", // Real-Time Video
		} {
			if !yield(branch) {
				return
			}
		}
	}
}

// presentation is a presentation context that was accepted.
type presentation struct {
	abstractSyntax, transferSyntax string
	options                        queryOptions // of a Query/Retrieve SOP class
}

// serves tells whether there is a service here for an abstract syntax.
func (s *Server) serves(abstractSyntax string) bool {
	switch abstractSyntax {
	case Verification:
		return true
	case StorageCommitment:
		return s.cfg.Committer != nil
	case PatientRootFind, StudyRootFind:
		return s.cfg.Finder != nil
	case PatientRootMove:
		return s.cfg.Retriever != nil && s.cfg.Destinations != nil && s.cfg.Finder != nil
	case StudyRootMove:
		return s.cfg.Retriever != nil && s.cfg.Destinations != nil
	case PatientRootGet:
		return s.cfg.Retriever != nil && s.cfg.Finder != nil
	case StudyRootGet:
		return s.cfg.Retriever != nil
	}
	return storable(abstractSyntax)
}

// answer answers a proposed presentation context; given is one in which
// instances go to the requestor.
func (s *Server) answer(c pdu.ContextRQ, given bool) pdu.ContextAC {
	if !s.serves(c.AbstractSyntax) {
		return refuse(c, pdu.ContextAbstractSyntaxNotSupported)
	}
	choose := chooseTransferSyntax
	switch {
	case queryRetrieve(c.AbstractSyntax):
		choose = chooseIdentifierSyntax
	case given:
		choose = chooseGivenSyntax
	}
	ts, ok := choose(c.TransferSyntaxes)
	if !ok {
		return refuse(c, pdu.ContextTransferSyntaxesNotSupported)
	}
	return pdu.ContextAC{ID: c.ID, Result: pdu.ContextAccepted, TransferSyntax: ts}
}

// refuse names a transfer syntax as the item must have one; it means nothing.
func refuse(c pdu.ContextRQ, why pdu.ContextResult) pdu.ContextAC {
	return pdu.ContextAC{ID: c.ID, Result: why, TransferSyntax: ImplicitVRLittleEndian}
}

// chooseTransferSyntax takes the first that is offered: the requestor knows
// best which spares it a conversion. The retired big endian one is taken only
// when there is no other.
func chooseTransferSyntax(offered []string) (string, bool) {
	bigEndian := false
	for _, ts := range offered {
		switch {
		case ts == explicitVRBigEndian:
			bigEndian = true
		case storage.ValidUID(ts):
			return ts, true
		}
	}
	return explicitVRBigEndian, bigEndian
}

// chooseGivenSyntax takes that in which instances are likely to be stored, as
// they are given in no other: one that compresses, or the retired big endian
// one, if it comes first, and else Explicit VR Little Endian.
func chooseGivenSyntax(offered []string) (string, bool) {
	if len(offered) > 0 && offered[0] == explicitVRBigEndian {
		return explicitVRBigEndian, true
	}
	first, ok := chooseTransferSyntax(offered)
	if first == ImplicitVRLittleEndian && slices.Contains(offered, ExplicitVRLittleEndian) {
		return ExplicitVRLittleEndian, true
	}
	return first, ok
}

// queryRetrieve tells whether it is a SOP class of Query/Retrieve.
func queryRetrieve(abstractSyntax string) bool {
	return strings.HasPrefix(abstractSyntax, standardRoot+"5.1.4.1.2.")
}

// chooseIdentifierSyntax takes the first in which an Identifier can be
// answered.
func chooseIdentifierSyntax(offered []string) (string, bool) {
	for _, ts := range offered {
		if ts == ExplicitVRLittleEndian || ts == ImplicitVRLittleEndian {
			return ts, true
		}
	}
	return "", false
}
