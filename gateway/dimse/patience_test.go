package dimse_test

import (
	"bytes"
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/dimse"
	"github.com/esante-alsace/cigogne/gateway/dimse/pdu"
)

// The time that this node takes is not held against the peer: neither while an
// instance becomes durable, nor while there is no room for what it has sent.
func TestOurOwnTimeIsNotThePeers(t *testing.T) {
	const idle, busy = 200 * time.Millisecond, 500 * time.Millisecond
	m := newMemory()
	m.wait = func(context.Context, string) (gateway.Standing, error) {
		time.Sleep(busy) // by the clock of the bubble
		return gateway.Stored, nil
	}
	m.receive = func(_ context.Context, in gateway.Incoming) ([]byte, error) {
		var begin [1]byte
		if _, err := io.ReadFull(in.Body, begin[:]); err != nil {
			return nil, err
		}
		time.Sleep(busy)
		rest, err := io.ReadAll(in.Body)
		return append(begin[:], rest...), err
	}
	synctest.Test(t, func(t *testing.T) {
		a := serveOver(t, m, func(c *dimse.Config) { c.Idle = idle }).dial(t, 0)
		for _, uid := range []string{"1.2.1", "1.2.2", "1.2.3"} {
			if s, err := a.Store(t.Context(), ct(uid, pattern(1<<20))); err != nil || s != dimse.StatusSuccess {
				t.Fatalf("%s: %v, %v", uid, s, err)
			}
		}
	})
}

// proposal proposes CT Image Storage as context 1.
func proposal(t testing.TB, user pdu.UserInformation) []byte {
	t.Helper()
	rq := pdu.AssociateRQ{
		ProtocolVersion: pdu.ProtocolVersion, CalledAETitle: "CIGOGNE", CallingAETitle: "TESTER",
		ApplicationContextName: pdu.ApplicationContextName, User: user,
		Contexts: []pdu.ContextRQ{{ID: 1, AbstractSyntax: ctImageStorage, TransferSyntaxes: []string{dimse.ExplicitVRLittleEndian}}},
	}
	b, err := rq.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A peer that takes the smallest of PDUs is answered in such.
func TestTinyPDUs(t *testing.T) {
	addr, _ := serve(t, newMemory(), nil)
	var whole []byte
	for _, most := range []uint32{0, 16, 17, 50, 128, 4096} {
		r := connect(t, addr)
		r.send(proposal(t, pdu.UserInformation{MaxPDULength: most, ImplementationClassUID: "2.25.1"}))
		r.receive()
		r.send(data(1, true, true, storeCommand(ctImageStorage, "1.2.3")))
		r.send(data(1, false, true, pattern(100)))
		var set []byte
		for last := false; !last; {
			b := r.receive()
			if b == nil || b[0] != byte(pdu.TypeDataTF) || most > 0 && len(b)-pdu.HeaderLength > int(most) {
				t.Fatalf("% x, where %d bytes were negotiated", b, most)
			}
			set, last = append(set, b[12:]...), b[11]&2 != 0
		}
		if whole == nil {
			whole = set
		}
		if !bytes.Equal(set, whole) {
			t.Errorf("in PDUs of %d: % x, and else % x", most, set, whole)
		}
	}
}

// A peer that asks for roles is told which it has: it sends, and nothing is
// sent to it.
func TestRolesAreAnswered(t *testing.T) {
	addr, _ := serve(t, newMemory(), nil)
	r := connect(t, addr)
	r.send(proposal(t, pdu.UserInformation{ImplementationClassUID: "2.25.1", Roles: []pdu.Role{
		{SOPClassUID: ctImageStorage, SCU: true, SCP: true}, {SOPClassUID: ctImageStorage, SCP: true}, {SOPClassUID: "1.2.840.10008.1.20.1", SCP: true},
	}}))
	ac, err := pdu.DecodeAssociateAC(r.receive()[pdu.HeaderLength:])
	if err != nil || len(ac.User.Roles) != 1 || ac.User.Roles[0] != (pdu.Role{SOPClassUID: ctImageStorage, SCU: true}) {
		t.Errorf("%+v, %v", ac, err)
	}
}

func TestSilentConnections(t *testing.T) {
	m := newMemory()
	addr, stop := serve(t, m, func(c *dimse.Config) { c.ARTIM = 2 * time.Second })
	var silent []*raw
	for i := range 200 {
		r := connect(t, addr)
		if i%2 == 1 { // half of them stop inside the request
			rq, _ := wireFixture(t, "associate-rq.hex")
			r.send(rq[:len(rq)/2])
		}
		silent = append(silent, r)
	}
	expectService(t, addr)
	for _, r := range silent {
		if got := r.receive(); got != nil {
			t.Fatalf("got % x", got)
		}
	}
	expectService(t, addr)
	stop() // they are counted after they were closed
	if n := m.counted(dimse.OutcomeSilent); n != len(silent) {
		t.Errorf("%d connections were counted as silent", n)
	}
}

func TestIdleAssociationIsAborted(t *testing.T) {
	m := newMemory()
	addr, _ := serve(t, m, func(c *dimse.Config) { c.Idle, c.ARTIM = 200*time.Millisecond, time.Second })
	associate(t, addr).expectAbort(pdu.AbortServiceUser, 0)
	if n := m.counted(dimse.OutcomeIdle); n != 1 {
		t.Errorf("%d associations were counted as idle", n)
	}
}

// TestSlowStorageIsNotIdleness lets the peer wait for its answers for longer
// than it may itself be silent.
func TestSlowStorageIsNotIdleness(t *testing.T) {
	m := newMemory()
	m.wait = func(context.Context, string) (gateway.Standing, error) {
		time.Sleep(20 * time.Second) // by the clock of the bubble
		return gateway.Stored, nil
	}
	synctest.Test(t, func(t *testing.T) {
		a := serveOver(t, m, func(c *dimse.Config) { c.Idle = time.Second }).dial(t, 2)
		if status, err := a.Store(t.Context(), ct("1.2.3", pattern(10))); err != nil || status != 0 {
			t.Errorf("Store: %s, %v", status, err)
		}
	})
}
