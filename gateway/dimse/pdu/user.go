package pdu

import "encoding/binary"

// UserInformation is the User Information item (PS3.8 §9.3.2.3, PS3.7 §D.3.3).
type UserInformation struct {
	// MaxPDULength is the longest P-DATA-TF, without its header, that its
	// sender can receive; 0 means any.
	MaxPDULength              uint32
	ImplementationClassUID    string
	ImplementationVersionName string
	AsyncWindow               *AsyncWindow // nil when not negotiated
	Roles                     []Role
	Extended                  []ExtendedNegotiation
	CommonExtended            []CommonExtendedNegotiation
	Identity                  *UserIdentity // only in a request
	// IdentityResponse is the server's response, only in an acceptance; nil
	// when there is none.
	IdentityResponse []byte
}

// AsyncWindow is the Asynchronous Operations Window (PS3.7 §D.3.3.3). As seen
// by the association requestor; 0 means any number.
type AsyncWindow struct {
	MaxOperationsInvoked   uint16
	MaxOperationsPerformed uint16
}

// Role is an SCP/SCU Role Selection (PS3.7 §D.3.3.4).
type Role struct {
	SOPClassUID string
	SCU, SCP    bool
}

// ExtendedNegotiation is a SOP Class Extended Negotiation (PS3.7 §D.3.3.5).
type ExtendedNegotiation struct {
	SOPClassUID string
	Information []byte
}

// CommonExtendedNegotiation is a SOP Class Common Extended Negotiation (PS3.7
// §D.3.3.6).
type CommonExtendedNegotiation struct {
	Version                    byte
	SOPClassUID                string
	ServiceClassUID            string
	RelatedGeneralSOPClassUIDs []string
}

// UserIdentity is a User Identity Negotiation (PS3.7 §D.3.3.7). Primary and
// Secondary may be secrets: they are never logged.
type UserIdentity struct {
	Type              IdentityType
	ResponseRequested bool
	Primary           []byte
	Secondary         []byte
}

// IdentityType tells in which form an identity comes.
type IdentityType byte

// The types of PS3.7 Table D.3-14.
const (
	IdentityUsername IdentityType = 1
	IdentityPasscode IdentityType = 2
	IdentityKerberos IdentityType = 3
	IdentitySAML     IdentityType = 4
	IdentityJWT      IdentityType = 5
)

func (u *UserInformation) decode(c cursor) error {
	for len(c.b) > 0 {
		kind, reserved, value := c.item()
		if c.short {
			break
		}
		if err := u.decodeItem(kind, reserved, value); err != nil {
			return err
		}
	}
	return c.end("user information")
}

func (u *UserInformation) decodeItem(kind, reserved byte, c cursor) error {
	switch kind {
	case itemMaxLength:
		u.MaxPDULength = c.uint32()
	case itemImplementationClass:
		u.ImplementationClassUID = uid(c.take(len(c.b)))
	case itemImplementationVersion:
		u.ImplementationVersionName = uid(c.take(len(c.b)))
	case itemAsyncWindow:
		u.AsyncWindow = &AsyncWindow{c.uint16(), c.uint16()}
	case itemRole:
		u.Roles = append(u.Roles, Role{c.uid(), c.byte() == 1, c.byte() == 1})
	case itemExtendedNegotiation:
		u.Extended = append(u.Extended, ExtendedNegotiation{c.uid(), c.rest()})
	case itemCommonExtended:
		return u.decodeCommonExtended(reserved, c)
	case itemUserIdentity:
		u.Identity = &UserIdentity{
			Type:              IdentityType(c.byte()),
			ResponseRequested: c.byte() == 1,
			Primary:           clone(c.field()),
			Secondary:         clone(c.field()),
		}
	case itemUserIdentityResponse:
		u.IdentityResponse = clone(c.field())
	default:
		return nil
	}
	return c.end("user information item")
}

func (u *UserInformation) decodeCommonExtended(version byte, c cursor) error {
	n := CommonExtendedNegotiation{Version: version, SOPClassUID: c.uid(), ServiceClassUID: c.uid()}
	related := cursor{b: c.field()}
	for len(related.b) > 0 {
		n.RelatedGeneralSOPClassUIDs = append(n.RelatedGeneralSOPClassUIDs, related.uid())
	}
	if err := related.end("common extended negotiation"); err != nil {
		return err
	}
	c.take(len(c.b)) // later versions of the item may have more
	u.CommonExtended = append(u.CommonExtended, n)
	return c.end("common extended negotiation")
}

// rest takes all that is left. It is a copy, as is all that is decoded.
func (c *cursor) rest() []byte { return clone(c.take(len(c.b))) }

// clone never returns nil: a field that is there and empty is not absent.
func clone(b []byte) []byte { return append([]byte{}, b...) }

func (w *writer) user(u *UserInformation) {
	w.item(itemUserInformation, 0, func() {
		w.item(itemMaxLength, 0, func() { w.b = binary.BigEndian.AppendUint32(w.b, u.MaxPDULength) })
		w.item(itemImplementationClass, 0, func() { w.text(u.ImplementationClassUID) })
		if a := u.AsyncWindow; a != nil {
			w.item(itemAsyncWindow, 0, func() {
				w.b = binary.BigEndian.AppendUint16(w.b, a.MaxOperationsInvoked)
				w.b = binary.BigEndian.AppendUint16(w.b, a.MaxOperationsPerformed)
			})
		}
		for _, r := range u.Roles {
			w.item(itemRole, 0, func() {
				w.uid(r.SOPClassUID)
				w.b = append(w.b, flag(r.SCU), flag(r.SCP))
			})
		}
		if u.ImplementationVersionName != "" {
			w.item(itemImplementationVersion, 0, func() { w.text(u.ImplementationVersionName) })
		}
		w.extended(u)
		w.identity(u)
	})
}

func (w *writer) extended(u *UserInformation) {
	for _, e := range u.Extended {
		w.item(itemExtendedNegotiation, 0, func() {
			w.uid(e.SOPClassUID)
			w.b = append(w.b, e.Information...)
		})
	}
	for _, n := range u.CommonExtended {
		w.item(itemCommonExtended, n.Version, func() {
			w.uid(n.SOPClassUID)
			w.uid(n.ServiceClassUID)
			w.sized(func() {
				for _, related := range n.RelatedGeneralSOPClassUIDs {
					w.uid(related)
				}
			})
		})
	}
}

func (w *writer) identity(u *UserInformation) {
	if i := u.Identity; i != nil {
		w.item(itemUserIdentity, 0, func() {
			w.b = append(w.b, byte(i.Type), flag(i.ResponseRequested))
			w.field(i.Primary)
			w.field(i.Secondary)
		})
	}
	if u.IdentityResponse != nil {
		w.item(itemUserIdentityResponse, 0, func() { w.field(u.IdentityResponse) })
	}
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}
