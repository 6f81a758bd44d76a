package dimse_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/esante-alsace/cigogne/gateway/dimse"
	"github.com/esante-alsace/cigogne/gateway/dimse/pdu"
)

// TestRequestsThatAreRefused sends what the SCU of this package would not.
func TestRequestsThatAreRefused(t *testing.T) {
	dataSet := data(3, false, true, pattern(1000))
	find := commandSet(element{0x0002, "1.2.840.10008.5.1.4.1.2.2.1"}, element{0x0100, uint16(0x20)},
		element{0x0110, uint16(5)}, element{0x0800, uint16(1)})
	for _, c := range []struct {
		name string
		send []byte
		want dimse.Status
	}{
		{"no UID", append(data(3, true, true, storeCommand(ctImageStorage, "../../x")), dataSet...), dimse.StatusCannotUnderstand},
		{"a UID too long", append(data(3, true, true, storeCommand(ctImageStorage, strings.Repeat("1", 65))), dataSet...), dimse.StatusCannotUnderstand},
		{"an empty UID", append(data(3, true, true, storeCommand(ctImageStorage, "")), dataSet...), dimse.StatusCannotUnderstand},
		{"another SOP class", append(data(3, true, true, storeCommand("1.2.840.10008.5.1.4.1.1.4", "1.2.3")), dataSet...), dimse.StatusSOPClassNotSupported},
		{"C-STORE of Verification", append(data(1, true, true, storeCommand(dimse.Verification, "1.2.3")), data(1, false, true, pattern(9))...), dimse.StatusSOPClassNotSupported},
		{"C-FIND", append(data(3, true, true, find), dataSet...), dimse.StatusUnrecognizedOperation},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMemory()
			addr, _ := serve(t, m, nil)
			r := associate(t, addr)
			r.send(c.send)
			if status, id := r.status(); dimse.Status(status) != c.want || id != 5 {
				t.Errorf("status %04X to message %d, want %s", status, id, c.want)
			}
			cancel := commandSet(element{0x0100, uint16(0x0FFF)}, element{0x0120, uint16(5)}, element{0x0800, uint16(0x0101)})
			r.send(data(3, true, true, cancel)) // ignored
			echo, _ := wireFixture(t, "echo-rq.hex")
			r.send(echo) // the association goes on
			if status, id := r.status(); status != 0 || id != 7 {
				t.Errorf("C-ECHO: status %04X to message %d", status, id)
			}
			r.send(pdu.AppendReleaseRQ(nil))
			if got := r.receive(); len(got) == 0 || got[0] != byte(pdu.TypeReleaseRP) {
				t.Errorf("the answer to A-RELEASE-RQ is % x", got)
			}
			if len(m.incoming) != 0 {
				t.Error("the Receiver was asked")
			}
		})
	}
}

func TestRequestsThatAreRejected(t *testing.T) {
	var all sync.WaitGroup // each waits for ARTIM
	for _, c := range []struct {
		change func(*pdu.AssociateRQ)
		want   pdu.AssociateRJ
	}{
		{func(rq *pdu.AssociateRQ) { rq.ProtocolVersion = 2 }, pdu.RejectProtocolVersion()},
		{func(rq *pdu.AssociateRQ) { rq.ApplicationContextName = "1.2.3" }, pdu.RejectApplicationContext()},
		{func(rq *pdu.AssociateRQ) { rq.ApplicationContextName = "" }, pdu.RejectApplicationContext()},
		{func(rq *pdu.AssociateRQ) { rq.CalledAETitle = "cigogne" }, pdu.RejectCalledAETitle()},
	} {
		all.Go(func() { t.Run(fmt.Sprint(c.want), func(t *testing.T) { rejected(t, c.change, c.want) }) })
	}
	all.Wait()
}

func rejected(t *testing.T, change func(*pdu.AssociateRQ), want pdu.AssociateRJ) {
	m := newMemory()
	addr, _ := serve(t, m, quick)
	b, _ := wireFixture(t, "associate-rq.hex")
	rq, err := pdu.DecodeAssociateRQ(b[pdu.HeaderLength:])
	if err != nil {
		t.Fatal(err)
	}
	change(rq)
	if b, err = rq.Append(nil); err != nil {
		t.Fatal(err)
	}
	r := connect(t, addr)
	r.send(b)
	if got := r.receive(); !bytes.Equal(got, want.Append(nil)) {
		t.Errorf("got % x", got)
	}
	// Sta13: data is ignored, and ARTIM closes the connection.
	echo, _ := wireFixture(t, "echo-rq.hex")
	r.send(echo)
	if got := r.receive(); got != nil {
		t.Errorf("then % x", got)
	}
	if n := m.counted(want.String()); n != 1 {
		t.Errorf("counted %d times", n)
	}
}
