package dimsetest

import (
	"encoding/binary"
	"fmt"
	"net"
	"testing"

	"github.com/esante-alsace/cigogne/gateway/dimse"
	"github.com/esante-alsace/cigogne/gateway/dimse/pdu"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// Question is a C-FIND that a peer asks.
type Question struct {
	SOPClassUID       string
	TransferSyntaxUID string // of Identifier; Explicit VR Little Endian when empty
	Identifier        []byte // none at all when nil
	// Extended is what is asked for in the extended negotiation of the class.
	Extended     []byte
	MaxPDULength uint32 // that the peer takes: 16 KiB when 0
	// CancelAfter is how many matches come before the C-CANCEL-RQ; 0 is none.
	CancelAfter int
}

// Answer is what came of it.
type Answer struct {
	Matches  []dicom.DataSet
	Pending  []dimse.Status // of each match
	Last     dimse.Status
	Comment  string
	Extended []byte // what was agreed upon
	Longest  int    // of the PDUs that came, without their head
}

// Find asks over an association of its own, as an AE called FINDER. An error is
// of the association.
func Find(t testing.TB, addr, called string, q Question) (*Answer, error) {
	t.Helper()
	c, err := dial(t, addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if q.TransferSyntaxUID == "" {
		q.TransferSyntaxUID = dimse.ExplicitVRLittleEndian
	}
	if q.MaxPDULength == 0 {
		q.MaxPDULength = 16 << 10
	}
	f := &finder{Question: q, conn: c, out: &Answer{}}
	if err := f.associate(called); err != nil {
		return nil, err
	}
	if err := f.ask(); err != nil {
		return nil, err
	}
	for {
		last, err := f.response()
		if err != nil {
			return f.out, err
		}
		if last {
			return f.out, exchange(c, pdu.AppendReleaseRQ(nil), pdu.TypeReleaseRP)
		}
		if len(f.out.Matches) == q.CancelAfter {
			if err := sendCancel(c, findMessage); err != nil {
				return f.out, err
			}
		}
	}
}

// findMessage is the MessageID of the request.
const findMessage = 9

type finder struct {
	Question
	conn net.Conn
	out  *Answer
}

func (f *finder) associate(called string) error {
	rq := &pdu.AssociateRQ{
		Contexts: []pdu.ContextRQ{{ID: 1, AbstractSyntax: f.SOPClassUID, TransferSyntaxes: []string{f.TransferSyntaxUID}}},
		User:     pdu.UserInformation{MaxPDULength: f.MaxPDULength},
	}
	if f.Extended != nil {
		rq.User.Extended = []pdu.ExtendedNegotiation{{SOPClassUID: f.SOPClassUID, Information: f.Extended}}
	}
	ac, err := associate(f.conn, called, "FINDER", rq)
	if err != nil {
		return err
	}
	if ac.Contexts[0].Result != pdu.ContextAccepted {
		return fmt.Errorf("the context is not accepted: %d", ac.Contexts[0].Result)
	}
	for _, e := range ac.User.Extended {
		f.out.Extended = e.Information
	}
	return nil
}

func (f *finder) ask() error {
	command := &dicomtest.Builder{Implicit: true}
	command.Text(0x00000002, "UI", f.SOPClassUID).US(0x00000100, 0x0020).US(0x00000110, findMessage).US(0x00000700, 0)
	if f.Identifier == nil {
		_, err := f.conn.Write(Fragment(1, true, true, command.US(0x00000800, 0x0101).Bytes()))
		return err
	}
	message := Fragment(1, true, true, command.US(0x00000800, 0).Bytes())
	_, err := f.conn.Write(append(message, Fragment(1, false, true, f.Identifier)...))
	return err
}

// response takes one response, and tells whether it is the last.
func (f *finder) response() (last bool, err error) {
	command, err := f.whole(true)
	if err != nil {
		return false, err
	}
	status := dimse.Status(valueOf(command, 0x0900))
	if valueOf(command, 0x0800) == 0x0101 {
		f.out.Last, f.out.Comment = status, textOf(command, 0x0902)
		return true, nil
	}
	b, err := f.whole(false)
	if err != nil {
		return false, err
	}
	found, err := decode(f.TransferSyntaxUID, b)
	if err != nil {
		return false, err
	}
	f.out.Matches, f.out.Pending = append(f.out.Matches, found), append(f.out.Pending, status)
	return false, nil
}

// whole takes a command set or a data set, up to its last fragment. A PDU of
// ours never holds both.
func (f *finder) whole(command bool) (b []byte, err error) {
	for {
		kind, p, err := receive(f.conn)
		if err != nil {
			return nil, err
		}
		if kind != pdu.TypeDataTF {
			return nil, fmt.Errorf("a %s instead of data", kind)
		}
		f.out.Longest = max(f.out.Longest, len(p))
		for len(p) >= 6 {
			n := int(binary.BigEndian.Uint32(p))
			if command != (p[5]&1 != 0) {
				return nil, fmt.Errorf("a fragment of the other kind: % x", p)
			}
			b = append(b, p[6:4+n]...)
			if p[5]&2 != 0 {
				return b, nil
			}
			p = p[4+n:]
		}
	}
}

// textOf is a text of a command set.
func textOf(b []byte, element uint16) string {
	for len(b) >= 8 {
		end := min(len(b), 8+int(binary.LittleEndian.Uint32(b[4:])))
		if binary.LittleEndian.Uint16(b[2:]) == element {
			return string(b[8:end])
		}
		b = b[end:]
	}
	return ""
}
