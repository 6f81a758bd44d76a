package dimse

import (
	"context"
	"errors"
	"slices"

	"github.com/esante-alsace/cigogne/gateway/access"
	"github.com/esante-alsace/cigogne/gateway/dimse/pdu"
	"github.com/esante-alsace/cigogne/storage"
)

// admit decides about a request; nil means that it is acceptable.
func (s *Server) admit(ctx context.Context, rq *pdu.AssociateRQ, who access.Caller) *pdu.AssociateRJ {
	reject := func(rj pdu.AssociateRJ) *pdu.AssociateRJ { return &rj }
	switch {
	case rq.ProtocolVersion&pdu.ProtocolVersion == 0:
		return reject(pdu.RejectProtocolVersion())
	case rq.ApplicationContextName != pdu.ApplicationContextName:
		return reject(pdu.RejectApplicationContext())
	case !s.cfg.called(rq.CalledAETitle):
		return reject(pdu.RejectCalledAETitle())
	}
	err := s.cfg.Gatekeeper.Permit(ctx, who, access.Associate, "")
	switch {
	case err == nil:
		return nil
	case errors.Is(err, storage.ErrUnavailable):
		return reject(pdu.RejectCongestion())
	default:
		return reject(pdu.RejectCallingAETitle())
	}
}

// accept answers every presentation context and says what was agreed.
func (s *Server) accept(rq *pdu.AssociateRQ) (ac *pdu.AssociateAC, contexts map[byte]presentation, window int) {
	ac = &pdu.AssociateAC{
		ProtocolVersion:        pdu.ProtocolVersion,
		CalledAETitle:          rq.CalledAETitle,
		CallingAETitle:         rq.CallingAETitle,
		ApplicationContextName: pdu.ApplicationContextName,
		User: pdu.UserInformation{
			MaxPDULength:              uint32(s.cfg.MaxPDULength),
			ImplementationClassUID:    ImplementationClassUID,
			ImplementationVersionName: ImplementationVersionName,
		},
	}
	contexts = make(map[byte]presentation, len(rq.Contexts))
	given := s.givenTo(rq)
	options := askedOptions(rq.User.Extended)
	for _, c := range rq.Contexts {
		a := s.answer(c, given[c.AbstractSyntax])
		if a.Result == pdu.ContextAccepted {
			contexts[c.ID] = presentation{c.AbstractSyntax, a.TransferSyntax, options[c.AbstractSyntax]}
		}
		ac.Contexts = append(ac.Contexts, a)
	}
	window = 1
	if asked := rq.User.AsyncWindow; asked != nil {
		granted := pdu.AsyncWindow{
			MaxOperationsInvoked:   grant(asked.MaxOperationsInvoked, s.cfg.AsyncWindow),
			MaxOperationsPerformed: grant(asked.MaxOperationsPerformed, s.cfg.AsyncWindow), // of a C-GET
		}
		ac.User.AsyncWindow = &granted
		window = int(granted.MaxOperationsInvoked)
	}
	ac.User.Extended = granted(rq.User.Extended, contexts)
	ac.User.Roles = roles(rq.User.Roles, contexts, given)
	if id := rq.User.Identity; id != nil && id.ResponseRequested {
		ac.User.IdentityResponse = []byte{}
	}
	return ac, contexts, window
}

// givenTo are the SOP classes whose instances go to the requestor: of Storage,
// in the role of an SCP (PS3.7 §D.3.3.4), where it proposes a C-GET.
func (s *Server) givenTo(rq *pdu.AssociateRQ) map[string]bool {
	given := map[string]bool{}
	if !slices.ContainsFunc(rq.Contexts, func(c pdu.ContextRQ) bool {
		return (c.AbstractSyntax == PatientRootGet || c.AbstractSyntax == StudyRootGet) && s.serves(c.AbstractSyntax)
	}) {
		return given
	}
	for _, r := range rq.User.Roles {
		if r.SCP && storable(r.SOPClassUID) {
			given[r.SOPClassUID] = true
		}
	}
	return given
}

// roles answers the role selection (PS3.7 §D.3.3.4) for what was accepted: the
// requestor may be an SCU, as it is by default, and an SCP of what is given to
// it.
func roles(asked []pdu.Role, contexts map[byte]presentation, given map[string]bool) []pdu.Role {
	open := make(map[string]bool, len(contexts))
	for _, pc := range contexts {
		open[pc.abstractSyntax] = true
	}
	var granted []pdu.Role
	for _, r := range asked {
		if open[r.SOPClassUID] {
			open[r.SOPClassUID] = false // one answer, however often it was asked
			granted = append(granted, pdu.Role{SOPClassUID: r.SOPClassUID, SCU: r.SCU, SCP: r.SCP && given[r.SOPClassUID]})
		}
	}
	return granted
}

// grant is the smaller of what is asked for, where 0 is any number, and ours.
func grant(asked uint16, ours int) uint16 {
	if asked == 0 || int(asked) > ours {
		return uint16(min(ours, 0xFFFF))
	}
	return asked
}
