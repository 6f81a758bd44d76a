package dimsetest

import (
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/gateway/dimse"
	"github.com/esante-alsace/cigogne/gateway/dimse/pdu"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// Retrieval is a C-MOVE or C-GET that a peer asks for.
type Retrieval struct {
	// SOPClassUID is one of Query/Retrieve; a C-MOVE has a Destination.
	SOPClassUID string
	Destination string
	Level       string
	// Keys are of the Identifier; a list is parted by backslashes.
	Keys map[dicom.Tag]string
	// UniversalEntityID, when not empty, says in it who assigned the PatientID.
	UniversalEntityID string
	// Takes are the contexts in which the peer takes instances of a C-GET.
	Takes []pdu.ContextRQ
	// Answer is the status for an instance: nil is success.
	Answer func(sopInstanceUID string) dimse.Status
	// CancelAfter is how many responses, or instances of a C-GET, come before
	// the C-CANCEL-RQ; 0 is none, and with -1 it follows upon the request.
	CancelAfter int
	// Insists asks again in place of answering an instance of a C-GET, whatever
	// the window is.
	Insists bool
	// MaxPDULength is what the peer takes: nil is 16 KiB.
	MaxPDULength *uint32
}

// Retrieved is what came of it.
type Retrieved struct {
	Responses []RetrieveResponse
	DataSets  map[string][]byte // of a C-GET, by SOPInstanceUID
	Roles     []pdu.Role        // that were granted
	Longest   int               // of the PDUs that came, without their head
}

// RetrieveResponse is one response; a count of -1 is not there.
type RetrieveResponse struct {
	Status                                dimse.Status
	Remaining, Completed, Failed, Warning int
	FailedUIDs                            []string
}

// Last is the final response.
func (r *Retrieved) Last() RetrieveResponse { return r.Responses[len(r.Responses)-1] }

// requestMessage is the MessageID of the request.
const requestMessage = 7

// Retrieve asks over an association of its own, as an AE called REQUESTER, and
// takes part in it until the last response. An error is of the association.
func Retrieve(t testing.TB, addr, called string, r Retrieval) (*Retrieved, error) {
	t.Helper()
	all, err := RetrieveAll(t, addr, called, r)
	return all[0], err
}

// RetrieveAll is Retrieve of several, one after the other over the association
// of the first.
func RetrieveAll(t testing.TB, addr, called string, rs ...Retrieval) ([]*Retrieved, error) {
	t.Helper()
	all := make([]*Retrieved, len(rs))
	for i := range all {
		all[i] = &Retrieved{DataSets: map[string][]byte{}}
	}
	c, err := dial(t, addr)
	if err != nil {
		return all, err
	}
	defer c.Close()
	for i, r := range rs {
		p := &requester{Retrieval: r, conn: c, out: all[i]}
		if i == 0 {
			err = p.associate(called)
		}
		if err == nil {
			err = p.ask()
		}
		for ended := false; err == nil && !ended; {
			ended, err = p.message()
		}
		if err != nil {
			return all, err
		}
	}
	return all, exchange(c, pdu.AppendReleaseRQ(nil), pdu.TypeReleaseRP)
}

type requester struct {
	Retrieval
	conn net.Conn
	out  *Retrieved
	seen int
}

func (p *requester) associate(called string) error {
	rq := &pdu.AssociateRQ{
		Contexts: []pdu.ContextRQ{{ID: 1, AbstractSyntax: p.SOPClassUID, TransferSyntaxes: []string{dimse.ExplicitVRLittleEndian}}},
		User:     pdu.UserInformation{MaxPDULength: 16 << 10},
	}
	if p.MaxPDULength != nil {
		rq.User.MaxPDULength = *p.MaxPDULength
	}
	for i, take := range p.Takes {
		take.ID = byte(2*i + 3)
		rq.Contexts = append(rq.Contexts, take)
		rq.User.Roles = append(rq.User.Roles, pdu.Role{SOPClassUID: take.AbstractSyntax, SCP: true})
	}
	ac, err := associate(p.conn, called, "REQUESTER", rq)
	if err == nil {
		p.out.Roles = ac.User.Roles
	}
	return err
}

func (p *requester) ask() error {
	identifier := &dicomtest.Builder{}
	for _, tag := range []dicom.Tag{0x00080018, 0x00080052, 0x00100020, 0x00100021, 0x00100024, 0x0020000D, 0x0020000E} {
		switch value, ok := p.Keys[tag]; {
		case tag == 0x00100024 && p.UniversalEntityID != "":
			identifier.Sequence(uint32(tag), func(item *dicomtest.Builder) { item.Text(0x00400032, "UT", p.UniversalEntityID) })
		case tag == 0x00080052:
			identifier.Text(uint32(tag), "CS", p.Level)
		case ok && (tag == 0x00100020 || tag == 0x00100021):
			identifier.Text(uint32(tag), "LO", value)
		case ok:
			identifier.Text(uint32(tag), "UI", value)
		}
	}
	command := &dicomtest.Builder{Implicit: true}
	field := uint16(0x0010)
	if p.Destination != "" {
		field = 0x0021
	}
	command.Text(0x00000002, "UI", p.SOPClassUID).US(0x00000100, field).US(0x00000110, requestMessage)
	if p.Destination != "" {
		command.Text(0x00000600, "AE", p.Destination)
	}
	command.US(0x00000700, 0).US(0x00000800, 0)
	_, err := p.conn.Write(append(Fragment(1, true, true, command.Bytes()), Fragment(1, false, true, identifier.Bytes())...))
	if err == nil && p.CancelAfter < 0 {
		err = sendCancel(p.conn, requestMessage)
	}
	return err
}

// message takes one message; ended is the final response.
func (p *requester) message() (ended bool, err error) {
	context, command, data, err := p.read()
	if err != nil {
		return false, err
	}
	if valueOf(command, 0x0100) == 0x0001 {
		err := p.take(context, command, data)
		return false, err
	}
	r := RetrieveResponse{
		Status: dimse.Status(valueOf(command, 0x0900)), Remaining: countOf(command, 0x1020), Completed: countOf(command, 0x1021),
		Failed: countOf(command, 0x1022), Warning: countOf(command, 0x1023),
	}
	if len(data) > 0 {
		found, err := decode(dimse.ExplicitVRLittleEndian, data)
		if err != nil {
			return false, err
		}
		e, _ := found.Get(0x00080058)
		r.FailedUIDs = e.Values
	}
	p.out.Responses = append(p.out.Responses, r)
	if r.Status == dimse.StatusPending {
		return false, p.cancel()
	}
	return true, nil
}

// cancel sends the C-CANCEL-RQ when it is due.
func (p *requester) cancel() error {
	if p.seen++; p.seen != p.CancelAfter {
		return nil
	}
	return sendCancel(p.conn, requestMessage)
}

// take takes an instance of a C-GET.
func (p *requester) take(context byte, command, data []byte) error {
	uid := strings.TrimRight(textOf(command, 0x1000), "\x00 ")
	p.out.DataSets[uid] = data
	if p.Insists {
		return p.ask()
	}
	var status dimse.Status
	if p.Answer != nil {
		status = p.Answer(uid)
	}
	answer := &dicomtest.Builder{Implicit: true}
	answer.US(0x00000100, 0x8001).US(0x00000120, valueOf(command, 0x0110)).US(0x00000800, 0x0101).US(0x00000900, uint16(status))
	if p.Takes != nil && p.CancelAfter > 0 {
		if err := p.cancel(); err != nil {
			return err
		}
	}
	_, err := p.conn.Write(Fragment(context, true, true, answer.Bytes()))
	return err
}

// read reads a command set and its data set, if there is one.
func (p *requester) read() (context byte, command, data []byte, err error) {
	for whole := false; !whole; {
		kind, b, err := receive(p.conn)
		if err != nil {
			return 0, nil, nil, err
		}
		if kind != pdu.TypeDataTF {
			return 0, nil, nil, fmt.Errorf("a %s instead of data", kind)
		}
		p.out.Longest = max(p.out.Longest, len(b))
		for len(b) >= 6 {
			n := int(binary.BigEndian.Uint32(b))
			context = b[4]
			if b[5]&1 != 0 {
				command = append(command, b[6:4+n]...)
				whole = b[5]&2 != 0 && valueOf(command, 0x0800) == 0x0101
			} else {
				data = append(data, b[6:4+n]...)
				whole = b[5]&2 != 0
			}
			b = b[4+n:]
		}
	}
	return context, command, data, nil
}

// countOf is a US of a command set, -1 for none.
func countOf(b []byte, element uint16) int {
	if v := textOf(b, element); len(v) == 2 {
		return int(binary.LittleEndian.Uint16([]byte(v)))
	}
	return -1
}
