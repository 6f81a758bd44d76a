package dimse

import (
	"encoding/binary"
	"strings"

	"github.com/esante-alsace/cigogne/gateway/dimse/pdu"
)

// The command fields of PS3.7 Table E.1-1 that are known here. A response has
// responseBit set.
const (
	cStoreRQ       uint16 = 0x0001
	cGetRQ         uint16 = 0x0010
	cFindRQ        uint16 = 0x0020
	cMoveRQ        uint16 = 0x0021
	cEchoRQ        uint16 = 0x0030
	nEventReportRQ uint16 = 0x0100
	nActionRQ      uint16 = 0x0130
	cCancelRQ      uint16 = 0x0FFF

	responseBit uint16 = 0x8000
)

// noDataSet is the CommandDataSetType of a message without one; any other
// value announces a data set.
const noDataSet uint16 = 0x0101

// The elements of group 0000 (PS3.7 §E.1).
const (
	elementGroupLength               uint16 = 0x0000
	elementAffectedSOPClassUID       uint16 = 0x0002
	elementRequestedSOPClassUID      uint16 = 0x0003
	elementCommandField              uint16 = 0x0100
	elementMessageID                 uint16 = 0x0110
	elementMessageIDBeingRespondedTo uint16 = 0x0120
	elementMoveDestination           uint16 = 0x0600
	elementPriority                  uint16 = 0x0700
	elementCommandDataSetType        uint16 = 0x0800
	elementStatus                    uint16 = 0x0900
	elementErrorComment              uint16 = 0x0902
	elementAffectedSOPInstanceUID    uint16 = 0x1000
	elementRequestedSOPInstanceUID   uint16 = 0x1001
	elementEventTypeID               uint16 = 0x1002
	elementActionTypeID              uint16 = 0x1008
	elementRemainingSuboperations    uint16 = 0x1020
	elementCompletedSuboperations    uint16 = 0x1021
	elementFailedSuboperations       uint16 = 0x1022
	elementWarningSuboperations      uint16 = 0x1023
	elementMoveOriginatorAETitle     uint16 = 0x1030
	elementMoveOriginatorMessageID   uint16 = 0x1031
)

// command is a command set, as far as it is understood here.
type command struct {
	Field                     uint16
	MessageID                 uint16
	MessageIDBeingRespondedTo uint16
	DataSetType               uint16
	Status                    Status
	ErrorComment              string
	AffectedSOPClassUID       string
	AffectedSOPInstanceUID    string
	RequestedSOPClassUID      string // of an N-ACTION
	RequestedSOPInstanceUID   string
	ActionTypeID              uint16
	EventTypeID               uint16 // of an N-EVENT-REPORT
	MoveDestination           string // of a C-MOVE
	MoveOriginatorAETitle     string // of a C-STORE
	MoveOriginatorMessageID   uint16
	Suboperations             *suboperations // of a response to C-MOVE or C-GET
}

// commandName is the name for logs and metrics; what a peer invents is one.
func commandName(field uint16) string {
	switch field {
	case cStoreRQ:
		return "C-STORE"
	case cEchoRQ:
		return "C-ECHO"
	case nActionRQ:
		return "N-ACTION"
	case cGetRQ:
		return "C-GET"
	case cFindRQ:
		return "C-FIND"
	case cMoveRQ:
		return "C-MOVE"
	default:
		return "other"
	}
}

// decodeCommand decodes a command set: Implicit VR Little Endian, group 0000
// only (PS3.7 §6.3.1). Elements that are not known are skipped.
func decodeCommand(b []byte) (command, error) {
	c := command{}
	var field, dataSetType bool
	for len(b) > 0 {
		if len(b) < 8 {
			return c, misused("the command set ends inside an element")
		}
		group, element := binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint16(b[2:])
		length := binary.LittleEndian.Uint32(b[4:])
		if group != 0 {
			return c, misused("group %04X in a command set", group)
		}
		if uint64(length) > uint64(len(b)-8) {
			return c, misused("element 0000,%04X of %d bytes is longer than the command set", element, length)
		}
		value := b[8 : 8+length]
		b = b[8+length:]
		c.set(element, value)
		field = field || element == elementCommandField && len(value) == 2
		dataSetType = dataSetType || element == elementCommandDataSetType && len(value) == 2
	}
	if !field || !dataSetType {
		return c, misused("a command set without CommandField or CommandDataSetType")
	}
	return c, nil
}

func (c *command) set(element uint16, v []byte) {
	switch element {
	case elementAffectedSOPClassUID:
		c.AffectedSOPClassUID = text(v)
	case elementCommandField:
		c.Field = us(v)
	case elementMessageID:
		c.MessageID = us(v)
	case elementMessageIDBeingRespondedTo:
		c.MessageIDBeingRespondedTo = us(v)
	case elementCommandDataSetType:
		c.DataSetType = us(v)
	case elementStatus:
		c.Status = Status(us(v))
	case elementErrorComment:
		c.ErrorComment = text(v)
	case elementAffectedSOPInstanceUID:
		c.AffectedSOPInstanceUID = text(v)
	case elementRequestedSOPClassUID:
		c.RequestedSOPClassUID = text(v)
	case elementRequestedSOPInstanceUID:
		c.RequestedSOPInstanceUID = text(v)
	case elementEventTypeID:
		c.EventTypeID = us(v)
	case elementActionTypeID:
		c.ActionTypeID = us(v)
	case elementMoveDestination:
		c.MoveDestination = pdu.Title(v)
	}
}

func us(v []byte) uint16 {
	if len(v) != 2 {
		return 0
	}
	return binary.LittleEndian.Uint16(v)
}

func text(v []byte) string { return strings.TrimRight(string(v), "\x00 ") }

// append appends the command set in ascending order of elements.
func (c *command) append(b []byte) []byte {
	start := len(b)
	b = appendElement(b, elementGroupLength, make([]byte, 4))
	if c.AffectedSOPClassUID != "" {
		b = appendText(b, elementAffectedSOPClassUID, c.AffectedSOPClassUID, 0)
	}
	if c.RequestedSOPClassUID != "" {
		b = appendText(b, elementRequestedSOPClassUID, c.RequestedSOPClassUID, 0)
	}
	b = appendUS(b, elementCommandField, c.Field)
	if c.Field&responseBit != 0 {
		b = appendUS(b, elementMessageIDBeingRespondedTo, c.MessageIDBeingRespondedTo)
	} else {
		b = appendUS(b, elementMessageID, c.MessageID)
		if c.MoveDestination != "" {
			b = appendText(b, elementMoveDestination, string(pdu.TitleBytes(c.MoveDestination)), ' ')
		}
		if c.Field == cStoreRQ {
			b = appendUS(b, elementPriority, 0) // medium
		}
	}
	b = appendUS(b, elementCommandDataSetType, c.DataSetType)
	if c.Field&responseBit != 0 {
		b = appendUS(b, elementStatus, uint16(c.Status))
		if c.ErrorComment != "" {
			b = appendText(b, elementErrorComment, c.ErrorComment, ' ')
		}
	}
	if c.AffectedSOPInstanceUID != "" {
		b = appendText(b, elementAffectedSOPInstanceUID, c.AffectedSOPInstanceUID, 0)
	}
	if c.RequestedSOPInstanceUID != "" {
		b = appendText(b, elementRequestedSOPInstanceUID, c.RequestedSOPInstanceUID, 0)
	}
	if c.EventTypeID != 0 {
		b = appendUS(b, elementEventTypeID, c.EventTypeID)
	}
	if c.ActionTypeID != 0 {
		b = appendUS(b, elementActionTypeID, c.ActionTypeID)
	}
	if s := c.Suboperations; s != nil {
		b = s.append(b, c.Status)
	}
	if c.MoveOriginatorAETitle != "" {
		b = appendText(b, elementMoveOriginatorAETitle, string(pdu.TitleBytes(c.MoveOriginatorAETitle)), ' ')
		b = appendUS(b, elementMoveOriginatorMessageID, c.MoveOriginatorMessageID)
	}
	binary.LittleEndian.PutUint32(b[start+8:], uint32(len(b)-start-12))
	return b
}

func appendElement(b []byte, element uint16, v []byte) []byte {
	b = append(b, 0, 0)
	b = binary.LittleEndian.AppendUint16(b, element)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(v)))
	return append(b, v...)
}

func appendUS(b []byte, element, v uint16) []byte {
	return appendElement(b, element, []byte{byte(v), byte(v >> 8)})
}

func appendText(b []byte, element uint16, s string, pad byte) []byte {
	v := []byte(s)
	if len(v)%2 == 1 {
		v = append(v, pad)
	}
	return appendElement(b, element, v)
}
