package main

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/gateway/dimse"
	"github.com/esante-alsace/cigogne/gateway/dimse/pdu"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// wirePeer is a DIMSE peer that sends what it likes.
type wirePeer struct {
	t    *testing.T
	conn *net.TCPConn
}

func connect(t *testing.T, addr string) *wirePeer {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(2 * patience)); err != nil {
		t.Fatal(err)
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		t.Fatalf("%T", c)
	}
	return &wirePeer{t, tcp}
}

// associateRQ proposes context 1, Verification, and 3, CT Image Storage in
// Explicit VR Little Endian.
func associateRQ(t *testing.T, calling string) []byte {
	t.Helper()
	rq := pdu.AssociateRQ{
		ProtocolVersion: pdu.ProtocolVersion, CalledAETitle: "CIGOGNE", CallingAETitle: calling,
		ApplicationContextName: pdu.ApplicationContextName,
		Contexts: []pdu.ContextRQ{
			{ID: 1, AbstractSyntax: dimse.Verification, TransferSyntaxes: []string{dicomtest.ImplicitLE}},
			{ID: 3, AbstractSyntax: dicomtest.CTImage, TransferSyntaxes: []string{dicomtest.ExplicitLE}},
		},
		User: pdu.UserInformation{MaxPDULength: 16 << 10, ImplementationClassUID: "2.25.1"},
	}
	b, err := rq.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// associated is a wirePeer with an association.
func associated(t *testing.T, addr, calling string) *wirePeer {
	t.Helper()
	p := connect(t, addr)
	p.send(associateRQ(t, calling))
	if got, _ := p.receive(); got != pdu.TypeAssociateAC {
		t.Fatalf("the answer to A-ASSOCIATE-RQ is %s", got)
	}
	return p
}

// send sends; that the node has closed the connection is seen when reading.
func (p *wirePeer) send(b []byte) { p.conn.Write(b) } // see above

// ended is what receive returns at the end of the connection.
const ended pdu.Type = 0

// receive takes the next PDU.
func (p *wirePeer) receive() (pdu.Type, []byte) {
	p.t.Helper()
	var head [pdu.HeaderLength]byte
	if _, err := io.ReadFull(p.conn, head[:]); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			p.t.Fatal("nothing came, and the connection stays open")
		}
		return ended, nil
	}
	h := pdu.ParseHeader(head)
	b := make([]byte, min(h.Length, 1<<20))
	if _, err := io.ReadFull(p.conn, b); err != nil {
		p.t.Fatal(err)
	}
	return h.Type, b
}

// expectEnd wants A-ABORT, after which it is on us to close the connection
// (PS3.8 §9.2, Sta13), or the connection's end.
func (p *wirePeer) expectEnd() {
	p.t.Helper()
	if got, _ := p.receive(); got != pdu.TypeAbort && got != ended {
		p.t.Errorf("got %s instead of the end", got)
	}
	p.conn.Close()
}

// status receives a response.
func (p *wirePeer) status() dimse.Status {
	p.t.Helper()
	got, b := p.receive()
	if got != pdu.TypeDataTF || len(b) < 6 {
		p.t.Fatalf("got %s instead of a response", got)
	}
	for b = b[6:]; len(b) >= 10; {
		n := int(binary.LittleEndian.Uint32(b[4:]))
		if binary.LittleEndian.Uint16(b[2:]) == 0x0900 {
			return dimse.Status(binary.LittleEndian.Uint16(b[8:]))
		}
		b = b[8+n:]
	}
	p.t.Fatal("a response without Status")
	return 0
}

// storeRQ is the command set of a C-STORE of a CT.
func storeRQ(sopInstanceUID string) []byte {
	b := &dicomtest.Builder{Implicit: true}
	b.Text(0x00000002, "UI", dicomtest.CTImage).US(0x00000100, 1).US(0x00000110, 1).US(0x00000700, 0)
	return b.US(0x00000800, 0).Text(0x00001000, "UI", sopInstanceUID).Bytes()
}

// fragment is a P-DATA-TF of one fragment.
func fragment(context byte, command, last bool, b []byte) []byte {
	return append(pdu.AppendPDV(nil, pdu.PDV{ContextID: context, Command: command, Last: last, Length: len(b)}), b...)
}

// ctContext is the presentation context of CT Image Storage.
const ctContext = 3

// fragments cuts a command set or a data set into P-DATA-TFs of that size, in
// the context of CT Image Storage.
func fragments(command bool, size int, b []byte) (all []byte) {
	for len(b) > size {
		all, b = append(all, fragment(ctContext, command, false, b[:size])...), b[size:]
	}
	return append(all, fragment(ctContext, command, true, b)...)
}
