package dimse_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"runtime"
	"sync"
	"testing"

	"github.com/esante-alsace/cigogne/gateway/dimse"
	"github.com/esante-alsace/cigogne/gateway/dimse/pdu"
)

func TestPresentationContexts(t *testing.T) {
	const implicit, explicit, big = dimse.ImplicitVRLittleEndian, dimse.ExplicitVRLittleEndian, "1.2.840.10008.1.2.2"
	for _, c := range []struct {
		name, abstract string
		offered        []string
		want           pdu.ContextResult
		chosen         string
	}{
		{"Verification", dimse.Verification, []string{implicit}, 0, implicit},
		{"CT", ctImageStorage, []string{explicit, implicit}, 0, explicit},
		{"the first offered", ctImageStorage, []string{"1.2.840.10008.1.2.4.90", explicit}, 0, "1.2.840.10008.1.2.4.90"},
		{"big endian is the last choice", ctImageStorage, []string{big, implicit}, 0, implicit},
		{"big endian alone", ctImageStorage, []string{big}, 0, big},
		{"HTJ2K", ctImageStorage, []string{"1.2.840.10008.1.2.4.201"}, 0, "1.2.840.10008.1.2.4.201"},
		{"private transfer syntax", ctImageStorage, []string{"1.2.276.0.99.1"}, 0, "1.2.276.0.99.1"},
		{"no transfer syntax", ctImageStorage, nil, 4, ""},
		{"not a transfer syntax", ctImageStorage, []string{"", "x"}, 4, ""},
		{"retired storage", "1.2.840.10008.5.1.4.1.1.6", []string{implicit}, 0, implicit},
		{"future storage", "1.2.840.10008.5.1.4.1.1.999.1", []string{implicit}, 0, implicit},
		{"private storage", "1.3.12.2.1107.5.9.1", []string{implicit}, 0, implicit},
		{"Hanging Protocol Storage", "1.2.840.10008.5.1.4.38.1", []string{implicit}, 0, implicit},
		{"RT Beams Delivery Instruction", "1.2.840.10008.5.1.4.34.7", []string{implicit}, 0, implicit},
		{"Hardcopy Grayscale Image", "1.2.840.10008.5.1.1.29", []string{implicit}, 0, implicit},
		{"Study Root FIND", "1.2.840.10008.5.1.4.1.2.2.1", []string{implicit}, 3, ""},
		{"Patient Root MOVE", "1.2.840.10008.5.1.4.1.2.1.2", []string{implicit}, 3, ""},
		{"Hanging Protocol FIND", "1.2.840.10008.5.1.4.38.2", []string{implicit}, 3, ""},
		{"Modality Worklist", "1.2.840.10008.5.1.4.31", []string{implicit}, 3, ""},
		{"MPPS", "1.2.840.10008.3.1.2.3.3", []string{implicit}, 3, ""},
		{"Storage Commitment", "1.2.840.10008.1.20.1", []string{implicit}, 3, ""},
		{"Basic Grayscale Print", "1.2.840.10008.5.1.1.9", []string{implicit}, 3, ""},
		{"Media Creation", "1.2.840.10008.5.1.1.33", []string{implicit}, 3, ""},
		{"UPS Push", "1.2.840.10008.5.1.4.34.6.1", []string{implicit}, 3, ""},
		{"Protocol Approval FIND", "1.2.840.10008.5.1.4.1.1.200.4", []string{implicit}, 3, ""},
		{"not a UID", "CT", []string{implicit}, 3, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr, _ := serve(t, newMemory(), quick)
			b, err := (&pdu.AssociateRQ{
				ProtocolVersion: 1, CalledAETitle: "CIGOGNE", CallingAETitle: "TESTER", ApplicationContextName: pdu.ApplicationContextName,
				Contexts: []pdu.ContextRQ{{ID: 255, AbstractSyntax: c.abstract, TransferSyntaxes: c.offered}},
			}).Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			r := connect(t, addr)
			r.send(b)
			answer := r.receive()
			if answer == nil || answer[0] != byte(pdu.TypeAssociateAC) {
				t.Fatalf("got % x", answer)
			}
			ac, err := pdu.DecodeAssociateAC(answer[pdu.HeaderLength:])
			if err != nil || len(ac.Contexts) != 1 {
				t.Fatalf("%+v, %v", ac, err)
			}
			got := ac.Contexts[0]
			if got.ID != 255 || got.Result != c.want || got.Result == 0 && got.TransferSyntax != c.chosen {
				t.Errorf("the answer is %+v", got)
			}
			if ac.User.AsyncWindow != nil || ac.User.MaxPDULength != 128<<10 {
				t.Errorf("user information %+v", ac.User)
			}
		})
	}
}

// TestAnswerToEverything looks at the answer to a request that negotiates all
// there is.
func TestAnswerToEverything(t *testing.T) {
	addr, _ := serve(t, newMemory(), quick)
	r := connect(t, addr)
	rq, _ := wireFixture(t, "associate-rq.hex")
	r.send(rq)
	ac, err := pdu.DecodeAssociateAC(r.receive()[pdu.HeaderLength:])
	if err != nil {
		t.Fatal(err)
	}
	u := ac.User
	if u.AsyncWindow == nil || *u.AsyncWindow != (pdu.AsyncWindow{MaxOperationsInvoked: 8, MaxOperationsPerformed: 1}) {
		t.Errorf("window %+v", u.AsyncWindow)
	}
	if u.IdentityResponse == nil || u.ImplementationClassUID == "" || u.ImplementationVersionName == "" {
		t.Errorf("user information %+v", u)
	}
}

// TestReleaseCollision has a peer that asks for release at the same time
// (PS3.8 §7.2.2.8): it answers only after it was answered.
func TestReleaseCollision(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var peer sync.WaitGroup
	defer peer.Wait()
	peer.Go(func() {
		c, err := ln.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		r := &raw{t, c.(*net.TCPConn)}
		ac, _ := wireFixture(t, "associate-ac.hex")
		for _, step := range []struct {
			want pdu.Type
			send []byte
		}{
			{pdu.TypeAssociateRQ, ac},
			{pdu.TypeReleaseRQ, pdu.AppendReleaseRQ(nil)},
			{pdu.TypeReleaseRP, pdu.AppendReleaseRP(nil)},
		} {
			if got := r.receive(); got == nil || got[0] != byte(step.want) {
				t.Errorf("got % x, want %s", got, step.want)
				return
			}
			r.send(step.send)
		}
		if got := r.receive(); got != nil {
			t.Errorf("then came % x", got)
		}
	})
	a := dial(t, ln.Addr().String(), nil)
	if err := a.Release(t.Context()); err != nil {
		t.Errorf("Release: %v", err)
	}
	if _, err := a.Echo(t.Context()); !errors.Is(err, dimse.ErrClosed) {
		t.Errorf("Echo after release: %v", err)
	}
}

// TestSCUSeesTheEnd lets the peer abort and vanish while a response is awaited.
func TestSCUSeesTheEnd(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(*raw)
		want error
	}{
		"abort": {func(r *raw) { r.send(pdu.Abort{}.Append(nil)) }, dimse.ErrAborted},
		"close": {func(*raw) {}, dimse.ErrLost},
	} {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			var peer sync.WaitGroup
			defer peer.Wait()
			peer.Go(func() {
				conn, err := ln.Accept()
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				r := &raw{t, conn.(*net.TCPConn)}
				ac, _ := wireFixture(t, "associate-ac.hex")
				r.receive()
				r.send(ac)
				r.receive() // C-ECHO-RQ
				c.end(r)
			})
			a := dial(t, ln.Addr().String(), nil)
			if _, err := a.Echo(t.Context()); !errors.Is(err, c.want) {
				t.Errorf("Echo: %v, want %v", err, c.want)
			}
			if _, err := a.Store(t.Context(), ct("1.2.3", nil)); !errors.Is(err, dimse.ErrNoContext) {
				t.Errorf("Store in a context that was refused: %v", err)
			}
		})
	}
}

func TestSCUContext(t *testing.T) {
	m := newMemory()
	addr, _ := serve(t, m, nil)
	a := dial(t, addr, nil)
	ctx, cancel := context.WithCancel(t.Context())
	rq := ct("1.2.3", nil)
	rq.DataSet = bufio.NewReader(cancelling{cancel, bytes.NewReader(pattern(1 << 20))})
	if _, err := a.Store(ctx, rq); !errors.Is(err, context.Canceled) {
		t.Errorf("Store: %v", err)
	}
	if _, err := a.Echo(t.Context()); err == nil {
		t.Error("the association goes on after half a message")
	}
}

// cancelling cancels a context when it is read.
type cancelling struct {
	cancel context.CancelFunc
	*bytes.Reader
}

func (c cancelling) Read(p []byte) (int, error) { c.cancel(); return c.Reader.Read(p) }

// TestAssociationCost holds associations in the middle of an instance and
// counts what each costs here.
func TestAssociationCost(t *testing.T) {
	m := newMemory()
	addr, _ := serve(t, m, func(c *dimse.Config) { c.MaxAssociationsPerAE = 100 })
	before := heap()
	const n = 80
	for i := range n {
		r := associate(t, addr)
		echo, _ := wireFixture(t, "echo-rq.hex")
		r.send(echo)
		if status, _ := r.status(); status != 0 {
			t.Fatalf("echo %d: %04X", i, status)
		}
	}
	cost := (heap() - before) / n
	t.Logf("an association costs %d KiB", cost>>10)
	if cost > 200<<10 {
		t.Errorf("an association costs %d bytes", cost)
	}
}

func heap() int64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapInuse + s.StackInuse)
}
