package dimse_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/dimse"
	"github.com/esante-alsace/cigogne/gateway/dimse/dimsetest"
	"github.com/esante-alsace/cigogne/gateway/dimse/pdu"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

var ctOnly = []pdu.ContextRQ{{AbstractSyntax: ctImageStorage, TransferSyntaxes: []string{dimse.ExplicitVRLittleEndian}}}

func getAll() dimsetest.Retrieval {
	return dimsetest.Retrieval{SOPClassUID: dimse.StudyRootGet, Level: "STUDY", Keys: study123, Takes: ctOnly}
}

// holdReal holds n CT images that other programs take.
func (h *holder) holdReal(n, pixels int) {
	for i := range n {
		uid := fmt.Sprintf("1.2.3.4.%d", i)
		_, dataSet := part10(uid, pixels)
		h.hold("1.2.3.4", uid, ctImageStorage, dimse.ExplicitVRLittleEndian, dataSet)
	}
}

// TestMoveDestinationKilled: a destination that is killed in the middle of an
// instance has what it answered before, all else has failed and is named, and
// nothing of it is left here.
func TestMoveDestinationKilled(t *testing.T) {
	const n, at = 12, 5
	before := runtime.NumGoroutine()
	h := &holder{}
	h.holdReal(n, 200_000)
	addr, _, kill := storeSCP(t)
	h.instances[at].halfway = kill
	h.addresses = map[string]string{"DEST": addr, "STORESCP": addr}
	node, stop := serve(t, newMemory(), func(c *dimse.Config) { c.Retriever, c.Destinations, c.Sent = h, h, h })
	to := move(study123)
	to.Destination = "STORESCP"
	last := mustRetrieve(t, node, to).Last()
	var want []string
	for _, in := range h.instances[last.Completed:] {
		want = append(want, in.about.Key.SOPInstanceUID)
	}
	slices.Sort(want)
	slices.Sort(last.FailedUIDs)
	if last.Status != dimse.StatusSuboperationsFailed || last.Completed != at || last.Failed != n-at || last.Warning != 0 || last.Remaining != -1 ||
		!slices.Equal(last.FailedUIDs, want) {
		t.Errorf("the last response is %+v", last)
	}
	if last := mustRetrieve(t, node, to).Last(); last.Status != dimse.StatusCannotSend || last.Failed != n || len(last.FailedUIDs) != n {
		t.Errorf("now that it is not there: %+v", last)
	}
	if last := mustRetrieve(t, node, getAll()).Last(); last.Status != 0 || last.Completed != n {
		t.Errorf("somebody else is told %+v", last)
	}
	stop()
	for until := time.Now().Add(time.Minute); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(until) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}

// TestMoveDestinationRefuses: what the destination takes in no context has
// failed and is named, and all else arrives.
func TestMoveDestinationRefuses(t *testing.T) {
	h := &holder{}
	h.holdReal(3, 1000)
	for i, syntax := range []string{"1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.80"} { // which storescp takes when told so
		h.hold("1.2.3.5", fmt.Sprintf("1.2.3.5.%d", i), ctImageStorage, syntax, pattern(1000))
	}
	addr, _, _ := storeSCP(t)
	h.addresses = map[string]string{"STORESCP": addr}
	node, _ := serveHeld(t, h, nil)
	to := move(study123)
	to.Destination = "STORESCP"
	last := mustRetrieve(t, node, to).Last()
	slices.Sort(last.FailedUIDs)
	if last.Status != dimse.StatusSuboperationsFailed || last.Completed != 3 || last.Failed != 2 || !slices.Equal(last.FailedUIDs, []string{"1.2.3.5.0", "1.2.3.5.1"}) {
		t.Errorf("the last response is %+v", last)
	}
}

// TestMoveDestinationNeverAnswers: a destination that takes all and answers
// nothing is waited for twice, however much there is.
func TestMoveDestinationNeverAnswers(t *testing.T) {
	const n = 10 // all on their way at once
	h := &holder{}
	h.holdCT(n)
	addr, dest := serveHeld(t, h, func(c *dimse.Config) { c.SuboperationTimeout = 300 * time.Millisecond })
	gate := make(chan struct{})
	defer close(gate)
	dest.wait = func(context.Context, string) (gateway.Standing, error) {
		<-gate
		return gateway.Stored, nil
	}
	last := mustRetrieve(t, addr, move(study123)).Last()
	if last.Status != dimse.StatusCannotSend || last.Failed != n || len(last.FailedUIDs) != n {
		t.Errorf("the last response is %+v", last)
	}
	if got := dest.counted(dimse.OutcomeAccepted); got > 2 {
		t.Errorf("over %d associations", got)
	}
}

// TestGetCanceled: a C-CANCEL-RQ in the middle of a C-GET ends it, the response
// says what remains, and the association goes on.
func TestGetCanceled(t *testing.T) {
	const n = 50
	h := &holder{}
	h.holdCT(n)
	addr, _ := serveHeld(t, h, nil)
	canceled := getAll()
	canceled.CancelAfter = 4
	all, err := dimsetest.RetrieveAll(t, addr, "CIGOGNE", canceled, getAll())
	if err != nil {
		t.Fatal(err)
	}
	last := all[0].Last()
	if last.Status != dimse.StatusCanceled || last.Remaining < 1 || last.Remaining+last.Completed != n || last.Failed != 0 || last.Warning != 0 ||
		len(all[0].DataSets) != last.Completed {
		t.Errorf("of %d instances came %d: %+v", n, len(all[0].DataSets), last)
	}
	if last := all[1].Last(); last.Status != 0 || last.Completed != n || len(all[1].DataSets) != n {
		t.Errorf("afterwards: %+v", last)
	}
}

// lost is a Retriever that looks for something until it is told not to.
type lost struct{}

func (lost) Instances(ctx context.Context, _ gateway.Selector) ([]gateway.Instance, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestGetCanceledWhileLocating: a C-CANCEL-RQ ends a retrieval that has not
// found its instances yet.
func TestGetCanceledWhileLocating(t *testing.T) {
	addr, _ := serve(t, newMemory(), func(c *dimse.Config) { c.Retriever = lost{} })
	r := getAll()
	r.CancelAfter = -1
	if last := mustRetrieve(t, addr, r).Last(); last.Status != dimse.StatusCanceled || last.Completed != 0 {
		t.Errorf("the last response is %+v", last)
	}
}

// TestGetBeyondItsWindow: who asks for more than was negotiated, and answers
// nothing, does not keep a place among the retrievals.
func TestGetBeyondItsWindow(t *testing.T) {
	h := &holder{}
	h.holdCT(3)
	addr, _ := serveHeld(t, h, func(c *dimse.Config) { c.MaxRetrievals, c.SuboperationTimeout = 1, 300*time.Millisecond })
	insists := getAll()
	insists.Insists = true
	if got, err := dimsetest.Retrieve(t, addr, "CIGOGNE", insists); err == nil {
		t.Errorf("it ended well: %+v", got.Responses)
	}
	if last := mustRetrieve(t, addr, getAll()).Last(); last.Status != 0 || last.Completed != 3 {
		t.Errorf("the next is told %+v", last)
	}
}

// TestGetNeverAnswered: who answers no instance is cut, and then has no longer
// than ARTIM to close the connection.
func TestGetNeverAnswered(t *testing.T) {
	h := &holder{}
	h.holdCT(2)
	addr, _ := serveHeld(t, h, func(c *dimse.Config) {
		c.SuboperationTimeout, c.ARTIM, c.Idle = 300*time.Millisecond, time.Second, time.Hour
	})
	rq := pdu.AssociateRQ{
		ProtocolVersion: pdu.ProtocolVersion, CalledAETitle: "CIGOGNE", CallingAETitle: "TESTER", ApplicationContextName: pdu.ApplicationContextName,
		Contexts: []pdu.ContextRQ{
			{ID: 1, AbstractSyntax: dimse.StudyRootGet, TransferSyntaxes: []string{dimse.ImplicitVRLittleEndian}},
			{ID: 3, AbstractSyntax: ctImageStorage, TransferSyntaxes: []string{dimse.ExplicitVRLittleEndian}},
		},
		User: pdu.UserInformation{Roles: []pdu.Role{{SOPClassUID: ctImageStorage, SCP: true}}},
	}
	b, err := rq.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	r := connect(t, addr)
	r.send(b)
	r.receive()
	identifier := (&dicomtest.Builder{Implicit: true}).Text(0x00080052, "CS", "STUDY").Text(uint32(tagStudy), "UI", "1.2.3").Bytes()
	r.send(data(1, true, true, commandSet(element{0x0002, dimse.StudyRootGet}, element{0x0100, uint16(0x0010)}, element{0x0110, uint16(7)},
		element{0x0700, uint16(0)}, element{0x0800, uint16(0)})))
	r.send(data(1, false, true, identifier))
	for got := r.receive(); got[0] != byte(pdu.TypeAbort); got = r.receive() {
		if got[0] != byte(pdu.TypeDataTF) {
			t.Fatalf("got % x", got)
		}
	}
	if more := r.receive(); more != nil {
		t.Errorf("after A-ABORT came % x", more)
	}
}

// TestGetInTinyPDUs: a peer that takes short PDUs gets no longer ones.
func TestGetInTinyPDUs(t *testing.T) {
	h := &holder{}
	h.hold("1.2.3.4", "1.2.3.4.1", ctImageStorage, dimse.ExplicitVRLittleEndian, pattern(200_000))
	addr, _ := serveHeld(t, h, nil)
	for _, most := range []uint32{16, 17, 50, 1000, 4096, 65_536, 0} {
		r := getAll()
		r.MaxPDULength = &most
		got := mustRetrieve(t, addr, r)
		if !bytes.Equal(got.DataSets["1.2.3.4.1"], h.instances[0].dataSet) || most > 0 && got.Longest > int(most) {
			t.Errorf("in PDUs of %d came %d bytes, the longest of them %d", most, len(got.DataSets["1.2.3.4.1"]), got.Longest)
		}
	}
}

// TestASlowHost: a host that answers nothing does not have all places of those
// that send.
func TestASlowHost(t *testing.T) {
	const places, ofOne = 4, 3
	ln, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Skip(err)
	}
	taken := make(chan net.Conn, places)
	go func() {
		defer close(taken)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			taken <- c
		}
	}()
	h := &holder{addresses: map[string]string{"DEST": ln.Addr().String()}}
	h.holdCT(3)
	addr, _ := serveHeld(t, h, func(c *dimse.Config) {
		c.ARTIM, c.MaxRetrievals, c.RetrievalWait = time.Hour, places, 300*time.Millisecond
	})
	var moves sync.WaitGroup
	var held []net.Conn
	for range ofOne {
		moves.Go(func() { _, _ = dimsetest.Retrieve(t, addr, "CIGOGNE", move(study123)) }) // it fails when the host is gone
		held = append(held, <-taken)
	}
	defer moves.Wait()
	defer func() {
		ln.Close()
		for c := range taken {
			held = append(held, c)
		}
		for _, c := range held {
			c.Close()
		}
	}()
	last := make(chan dimsetest.RetrieveResponse, 1)
	moves.Go(func() {
		if got, err := dimsetest.Retrieve(t, addr, "CIGOGNE", move(study123)); err == nil {
			last <- got.Last()
		}
	})
	select {
	case c := <-taken:
		held = append(held, c)
		t.Fatalf("one host has all %d places", places)
	case r := <-last:
		if r.Status != dimse.StatusCannotSend {
			t.Errorf("the fourth to it is told %+v", r)
		}
	}
	if last := mustRetrieve(t, addr, getAll()).Last(); last.Status != 0 || last.Completed != 3 {
		t.Errorf("another host is told %+v", last)
	}
}
