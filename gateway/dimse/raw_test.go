package dimse_test

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/gateway/dimse/pdu"
)

// wireFixture reads an annotated file of testdata/wire: the bytes, and what
// its comments say of "state" and "answer".
func wireFixture(t testing.TB, name string) (b []byte, says map[string]string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../testdata/wire", name))
	if err != nil {
		t.Fatal(err)
	}
	var digits strings.Builder
	says = map[string]string{}
	for line := range strings.Lines(string(text)) {
		code, comment, _ := strings.Cut(line, "#")
		digits.WriteString(strings.Join(strings.Fields(code), ""))
		if key, value, ok := strings.Cut(comment, ": "); ok {
			says[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	if b, err = hex.DecodeString(digits.String()); err != nil {
		t.Fatal(err)
	}
	return b, says
}

// raw is a peer that sends what it likes.
type raw struct {
	t    testing.TB
	conn *net.TCPConn
}

func connect(t testing.TB, addr string) *raw {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return &raw{t, c.(*net.TCPConn)}
}

// associate opens contexts 1 (Verification) and 3 (CT Image Storage).
func associate(t testing.TB, addr string) *raw {
	t.Helper()
	r := connect(t, addr)
	rq, _ := wireFixture(t, "associate-rq.hex")
	r.send(rq)
	if got := r.receive(); got[0] != byte(pdu.TypeAssociateAC) {
		t.Fatalf("the answer to the request is % x", got)
	}
	return r
}

func (r *raw) send(b []byte) {
	r.t.Helper()
	if _, err := r.conn.Write(b); err != nil {
		r.t.Fatal(err)
	}
}

// receive returns the next PDU, and nil at the end of the connection.
func (r *raw) receive() []byte {
	r.t.Helper()
	head := make([]byte, pdu.HeaderLength)
	if _, err := io.ReadFull(r.conn, head); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			r.t.Fatal("nothing came, and the connection stays open")
		}
		return nil
	}
	b := make([]byte, binary.BigEndian.Uint32(head[2:]))
	if _, err := io.ReadFull(r.conn, b); err != nil {
		r.t.Fatal(err)
	}
	return append(head, b...)
}

// expectAbort receives an A-ABORT and then the end of the connection.
func (r *raw) expectAbort(source pdu.AbortSource, reason pdu.AbortReason) {
	r.t.Helper()
	got := r.receive()
	if len(got) != 10 || got[0] != byte(pdu.TypeAbort) || got[8] != byte(source) || got[9] != byte(reason) {
		r.t.Fatalf("got % x, want A-ABORT %d/%d", got, source, reason)
	}
	if more := r.receive(); more != nil {
		r.t.Fatalf("after A-ABORT came % x", more)
	}
}

// element is one of a command set; a value is a string or a uint16.
type element struct {
	tag   uint16
	value any
}

func commandSet(elements ...element) []byte {
	var b []byte
	for _, e := range elements {
		var v []byte
		switch value := e.value.(type) {
		case uint16:
			v = binary.LittleEndian.AppendUint16(nil, value)
		case string:
			v = []byte(value)
			if len(v)%2 == 1 {
				v = append(v, 0)
			}
		}
		b = append(b, 0, 0, byte(e.tag), byte(e.tag>>8))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(v)))
		b = append(b, v...)
	}
	return b
}

func storeCommand(sopClassUID, sopInstanceUID string) []byte {
	return commandSet(element{0x0002, sopClassUID}, element{0x0100, uint16(1)}, element{0x0110, uint16(5)},
		element{0x0700, uint16(0)}, element{0x0800, uint16(0)}, element{0x1000, sopInstanceUID})
}

// data is a P-DATA-TF of one fragment.
func data(contextID byte, command, last bool, fragment []byte) []byte {
	b := pdu.AppendPDV(nil, pdu.PDV{ContextID: contextID, Command: command, Last: last, Length: len(fragment)})
	return append(b, fragment...)
}

// status receives a response and returns its status and message id.
func (r *raw) status() (status, messageID uint16) {
	r.t.Helper()
	b := r.receive()
	if len(b) < 12 || b[0] != byte(pdu.TypeDataTF) {
		r.t.Fatalf("not a response: % x", b)
	}
	for b = b[12:]; len(b) >= 8; {
		n := int(binary.LittleEndian.Uint32(b[4:]))
		switch binary.LittleEndian.Uint16(b[2:]) {
		case 0x0900:
			status = binary.LittleEndian.Uint16(b[8:])
		case 0x0120:
			messageID = binary.LittleEndian.Uint16(b[8:])
		}
		b = b[8+n:]
	}
	return status, messageID
}
