package pdu

import (
	"encoding/binary"
	"math"
)

// ProtocolVersion is the version of the upper layer protocol: a bit field of
// which bit 0 is version 1, the only one there is.
const ProtocolVersion = 1

// ApplicationContextName is the DICOM Application Context (PS3.7 §A.2.1).
const ApplicationContextName = "1.2.840.10008.3.1.1.1"

// AssociateRQ is A-ASSOCIATE-RQ (PS3.8 §9.3.2).
type AssociateRQ struct {
	ProtocolVersion        uint16
	CalledAETitle          string
	CallingAETitle         string
	ApplicationContextName string
	Contexts               []ContextRQ
	User                   UserInformation
}

// ContextRQ is a presentation context that is proposed.
type ContextRQ struct {
	ID               byte // odd
	AbstractSyntax   string
	TransferSyntaxes []string
}

// AssociateAC is A-ASSOCIATE-AC (PS3.8 §9.3.3).
type AssociateAC struct {
	ProtocolVersion        uint16
	CalledAETitle          string // as in the request; not tested by anyone
	CallingAETitle         string
	ApplicationContextName string
	Contexts               []ContextAC
	User                   UserInformation
}

// ContextAC is the answer to a ContextRQ.
type ContextAC struct {
	ID             byte
	Result         ContextResult
	TransferSyntax string // means something only when accepted
}

// ContextResult is the answer to a proposed presentation context.
type ContextResult byte

// The results of PS3.8 Table 9-18.
const (
	ContextAccepted                     ContextResult = 0
	ContextUserRejection                ContextResult = 1
	ContextNoReason                     ContextResult = 2
	ContextAbstractSyntaxNotSupported   ContextResult = 3
	ContextTransferSyntaxesNotSupported ContextResult = 4
)

// Append appends the PDU to b; an item that does not fit its length field is
// storage.ErrTooLarge.
func (rq *AssociateRQ) Append(b []byte) ([]byte, error) {
	w := writer{b: b}
	w.associate(TypeAssociateRQ, rq.ProtocolVersion, rq.CalledAETitle, rq.CallingAETitle, func() {
		w.item(itemApplicationContext, 0, func() { w.text(rq.ApplicationContextName) })
		for _, c := range rq.Contexts {
			w.item(itemContextRQ, 0, func() {
				w.b = append(w.b, c.ID, 0, 0, 0)
				w.item(itemAbstractSyntax, 0, func() { w.text(c.AbstractSyntax) })
				for _, ts := range c.TransferSyntaxes {
					w.item(itemTransferSyntax, 0, func() { w.text(ts) })
				}
			})
		}
		w.user(&rq.User)
	})
	return w.b, w.err
}

// Append appends the PDU to b; an item that does not fit its length field is
// storage.ErrTooLarge.
func (ac *AssociateAC) Append(b []byte) ([]byte, error) {
	w := writer{b: b}
	w.associate(TypeAssociateAC, ac.ProtocolVersion, ac.CalledAETitle, ac.CallingAETitle, func() {
		w.item(itemApplicationContext, 0, func() { w.text(ac.ApplicationContextName) })
		for _, c := range ac.Contexts {
			w.item(itemContextAC, 0, func() {
				w.b = append(w.b, c.ID, 0, byte(c.Result), 0)
				w.item(itemTransferSyntax, 0, func() { w.text(c.TransferSyntax) })
			})
		}
		w.user(&ac.User)
	})
	return w.b, w.err
}

func (w *writer) associate(t Type, version uint16, called, calling string, items func()) {
	w.b = AppendHeader(w.b, Header{Type: t})
	start := len(w.b)
	w.b = binary.BigEndian.AppendUint16(w.b, version)
	w.b = append(w.b, 0, 0)
	w.b = appendAETitle(w.b, called)
	w.b = appendAETitle(w.b, calling)
	w.b = append(w.b, make([]byte, associateReserved)...)
	items()
	n := len(w.b) - start
	if uint64(n) > math.MaxUint32 {
		w.fail(n)
		return
	}
	binary.BigEndian.PutUint32(w.b[start-4:], uint32(n))
}

// DecodeAssociateRQ decodes what follows the header of an A-ASSOCIATE-RQ. An
// error is an *Error. Items of unknown type are skipped.
func DecodeAssociateRQ(body []byte) (*AssociateRQ, error) {
	rq := &AssociateRQ{}
	c := cursor{b: body}
	rq.ProtocolVersion, rq.CalledAETitle, rq.CallingAETitle = c.associate()
	err := c.items("A-ASSOCIATE-RQ", &rq.ApplicationContextName, &rq.User, itemContextRQ, func(value cursor) (byte, error) {
		context, err := decodeContextRQ(value)
		rq.Contexts = append(rq.Contexts, context)
		return context.ID, err
	})
	if err != nil {
		return nil, err
	}
	return rq, nil
}

// DecodeAssociateAC decodes what follows the header of an A-ASSOCIATE-AC. An
// error is an *Error. Items of unknown type are skipped.
func DecodeAssociateAC(body []byte) (*AssociateAC, error) {
	ac := &AssociateAC{}
	c := cursor{b: body}
	ac.ProtocolVersion, ac.CalledAETitle, ac.CallingAETitle = c.associate()
	err := c.items("A-ASSOCIATE-AC", &ac.ApplicationContextName, &ac.User, itemContextAC, func(value cursor) (byte, error) {
		context, err := decodeContextAC(value)
		ac.Contexts = append(ac.Contexts, context)
		return context.ID, err
	})
	if err != nil {
		return nil, err
	}
	return ac, nil
}

// items decodes the variable items of a PDU. Those of contextKind go to
// context, which returns the presentation context's id.
func (c *cursor) items(pdu string, name *string, user *UserInformation, contextKind byte, context func(cursor) (byte, error)) error {
	var seen contextIDs
	for len(c.b) > 0 && !c.short {
		kind, _, value := c.item()
		if c.short {
			break
		}
		var err error
		switch kind {
		case itemApplicationContext:
			*name = uid(value.b)
		case contextKind:
			var id byte
			if id, err = context(value); err == nil {
				err = seen.add(id)
			}
		case itemUserInformation:
			err = user.decode(value)
		}
		if err != nil {
			return err
		}
	}
	return c.end(pdu)
}

func (c *cursor) associate() (version uint16, called, calling string) {
	version = c.uint16()
	c.take(2)
	called = Title(c.take(aeTitleLength))
	calling = Title(c.take(aeTitleLength))
	c.take(associateReserved)
	return version, called, calling
}

func decodeContextRQ(c cursor) (ContextRQ, error) {
	context := ContextRQ{ID: c.byte()}
	c.take(3)
	for len(c.b) > 0 {
		kind, _, value := c.item()
		switch {
		case c.short:
		case kind == itemAbstractSyntax:
			context.AbstractSyntax = uid(value.b)
		case kind == itemTransferSyntax:
			context.TransferSyntaxes = append(context.TransferSyntaxes, uid(value.b))
		}
	}
	return context, c.end("presentation context")
}

func decodeContextAC(c cursor) (ContextAC, error) {
	context := ContextAC{ID: c.byte()}
	c.take(1)
	context.Result = ContextResult(c.byte())
	c.take(1)
	for len(c.b) > 0 {
		if kind, _, value := c.item(); kind == itemTransferSyntax {
			context.TransferSyntax = uid(value.b)
		}
	}
	return context, c.end("presentation context")
}

// contextIDs are the ids that were used already. As they are odd and unique
// there are never more than MaxContexts of them.
type contextIDs [MaxContexts]bool

func (seen *contextIDs) add(id byte) error {
	switch {
	case id%2 == 0:
		return invalid("presentation context id %d is even", id)
	case seen[id/2]:
		return invalid("presentation context id %d is there twice", id)
	}
	seen[id/2] = true
	return nil
}
