// Package dimsetest has peers for tests that go over the wire.
package dimsetest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/gateway/commitment"
	"github.com/esante-alsace/cigogne/gateway/dimse"
	"github.com/esante-alsace/cigogne/gateway/dimse/pdu"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

const (
	wellKnownInstance = "1.2.840.10008.1.20.1.1"
	patience          = time.Minute
	reportsMost       = 100
)

// SCU is a peer that asks for storage commitment, and listens for reports. What
// it may choose is set before it is first used.
type SCU struct {
	AETitle string
	// TransferSyntaxUID is that in which it takes reports.
	TransferSyntaxUID string
	// Roles answer the role selection.
	Roles []pdu.Role
	// Told takes each report, in order.
	Told chan Report

	t      testing.TB
	ln     net.Listener
	mu     sync.Mutex
	status dimse.Status
}

// Report is an N-EVENT-REPORT as the SCU had it.
type Report struct {
	EventTypeID                   uint16
	DataSet                       dicom.DataSet
	CallingAETitle, CalledAETitle string
	Roles                         []pdu.Role // that were asked for
}

// NewSCU listens until the test ends.
func NewSCU(t testing.TB, title string) *SCU {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &SCU{
		AETitle: title, TransferSyntaxUID: dimse.ExplicitVRLittleEndian, Told: make(chan Report, reportsMost),
		Roles: []pdu.Role{{SOPClassUID: dimse.StorageCommitment, SCP: true}}, t: t, ln: ln,
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		ln.Close()
		<-done
	})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			if err := s.take(c); err != nil && !errors.Is(err, io.EOF) {
				t.Logf("an association for a report: %v", err)
			}
			c.Close()
		}
	}()
	return s
}

// Addr is where it listens.
func (s *SCU) Addr() string { return s.ln.Addr().String() }

// Answer makes it answer reports with a status; at first that is success.
func (s *SCU) Answer(status dimse.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = status
}

func (s *SCU) answer() dimse.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// Next is the next report; the test fails when none comes for a minute.
func (s *SCU) Next() Report {
	s.t.Helper()
	select {
	case r := <-s.Told:
		return r
	case <-time.After(patience):
		s.t.Fatal("no report comes")
		return Report{}
	}
}

// Ask asks for storage commitment over an association of its own, and returns
// the status of the answer.
func (s *SCU) Ask(addr, called, transaction string, of ...commitment.Reference) dimse.Status {
	s.t.Helper()
	status, err := s.ask(addr, called, transaction, of)
	if err != nil {
		s.t.Fatal(err)
	}
	return status
}

func (s *SCU) ask(addr, called, transaction string, of []commitment.Reference) (dimse.Status, error) {
	c, err := (&net.Dialer{}).DialContext(s.t.Context(), "tcp", addr)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	rq, err := (&pdu.AssociateRQ{
		ProtocolVersion: pdu.ProtocolVersion, CalledAETitle: called, CallingAETitle: s.AETitle, ApplicationContextName: pdu.ApplicationContextName,
		Contexts: []pdu.ContextRQ{{ID: 1, AbstractSyntax: dimse.StorageCommitment, TransferSyntaxes: []string{dimse.ExplicitVRLittleEndian}}},
		User:     pdu.UserInformation{MaxPDULength: 16 << 10, ImplementationClassUID: "2.25.1"},
	}).Append(nil)
	if err != nil {
		return 0, err
	}
	b := &dicomtest.Builder{}
	items := make([]func(*dicomtest.Builder), len(of))
	for i, r := range of {
		items[i] = func(b *dicomtest.Builder) {
			b.Text(0x00081150, "UI", r.SOPClassUID).Text(0x00081155, "UI", r.SOPInstanceUID)
		}
	}
	b.Text(0x00081195, "UI", transaction).Sequence(0x00081199, items...)
	command := &dicomtest.Builder{Implicit: true}
	command.Text(0x00000003, "UI", dimse.StorageCommitment).US(0x00000100, 0x0130).US(0x00000110, 1).US(0x00000800, 0)
	command.Text(0x00001001, "UI", wellKnownInstance).US(0x00001008, 1)
	if err := exchange(c, rq, pdu.TypeAssociateAC); err != nil {
		return 0, err
	}
	message := append(Fragment(1, true, true, command.Bytes()), Fragment(1, false, true, b.Bytes())...)
	if _, err := c.Write(message); err != nil {
		return 0, err
	}
	_, answer, err := receive(c)
	if err != nil || len(answer) < 6 {
		return 0, fmt.Errorf("no answer to the N-ACTION: %w", err)
	}
	return dimse.Status(valueOf(answer[6:], 0x0900)), exchange(c, pdu.AppendReleaseRQ(nil), pdu.TypeReleaseRP)
}

// exchange sends a PDU and takes the answer, which must be of that type.
func exchange(c net.Conn, send []byte, want pdu.Type) error {
	if _, err := c.Write(send); err != nil {
		return err
	}
	got, _, err := receive(c)
	if err == nil && got != want {
		err = fmt.Errorf("a %s instead of %s", got, want)
	}
	return err
}

// Fragment is a P-DATA-TF of one fragment.
func Fragment(context byte, command, last bool, b []byte) []byte {
	return append(pdu.AppendPDV(nil, pdu.PDV{ContextID: context, Command: command, Last: last, Length: len(b)}), b...)
}

func receive(c net.Conn) (pdu.Type, []byte, error) {
	var head [pdu.HeaderLength]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return 0, nil, err
	}
	h := pdu.ParseHeader(head)
	b := make([]byte, min(h.Length, 1<<20))
	_, err := io.ReadFull(c, b)
	return h.Type, b, err
}

// take serves one association: reports, until it is released.
func (s *SCU) take(c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, b, err := receive(c)
	if err != nil {
		return err
	}
	rq, err := pdu.DecodeAssociateRQ(b)
	if err != nil {
		return err
	}
	ac, id := s.accept(rq)
	if b, err = ac.Append(nil); err != nil {
		return err
	}
	if _, err := c.Write(b); err != nil {
		return err
	}
	for {
		r := Report{Roles: rq.User.Roles, CallingAETitle: rq.CallingAETitle, CalledAETitle: rq.CalledAETitle}
		message, released, err := s.message(c, &r)
		if err != nil {
			return err
		}
		if released {
			_, err := c.Write(pdu.AppendReleaseRP(nil))
			return err
		}
		s.Told <- r
		answer := &dicomtest.Builder{Implicit: true}
		answer.US(0x00000100, 0x8100).US(0x00000120, message).US(0x00000800, 0x0101).US(0x00000900, uint16(s.answer()))
		if _, err := c.Write(Fragment(id, true, true, answer.Bytes())); err != nil {
			return err
		}
	}
}

// accept takes the context that has the SCU's transfer syntax.
func (s *SCU) accept(rq *pdu.AssociateRQ) (ac pdu.AssociateAC, id byte) {
	ac = pdu.AssociateAC{
		ProtocolVersion: pdu.ProtocolVersion, ApplicationContextName: pdu.ApplicationContextName,
		User: pdu.UserInformation{Roles: s.Roles, MaxPDULength: 16 << 10, ImplementationClassUID: "2.25.1"},
	}
	for _, pc := range rq.Contexts {
		answer := pdu.ContextAC{ID: pc.ID, Result: pdu.ContextTransferSyntaxesNotSupported, TransferSyntax: dimse.ImplicitVRLittleEndian}
		if pc.AbstractSyntax == dimse.StorageCommitment && pc.TransferSyntaxes[0] == s.TransferSyntaxUID {
			id, answer.Result, answer.TransferSyntax = pc.ID, pdu.ContextAccepted, s.TransferSyntaxUID
		}
		ac.Contexts = append(ac.Contexts, answer)
	}
	return ac, id
}

// message reads a command set and its data set into r, and returns its message
// id; released is true when the peer asked for the association's end instead.
func (s *SCU) message(c net.Conn, r *Report) (id uint16, released bool, err error) {
	var command []byte
	scanner := dicom.NewScanner(s.TransferSyntaxUID, dicom.ScanLimits{MaxKept: 128 << 20})
	defer scanner.Abort()
	for last := false; !last; {
		kind, p, err := receive(c)
		switch {
		case err != nil:
			return 0, false, err
		case kind == pdu.TypeReleaseRQ:
			return 0, true, nil
		case kind != pdu.TypeDataTF:
			return 0, false, fmt.Errorf("a %s instead of data", kind)
		}
		for len(p) >= 6 {
			n := int(binary.BigEndian.Uint32(p))
			body := p[6 : 4+n]
			if p[5]&1 != 0 {
				command = append(command, body...)
			} else if _, err := scanner.Write(body); err != nil {
				return 0, false, err
			}
			last = p[5] == 2 // the last fragment, of a data set
			p = p[4+n:]
		}
	}
	found, err := scanner.Close()
	if err != nil {
		return 0, false, err
	}
	r.EventTypeID, r.DataSet = valueOf(command, 0x1002), found.DataSet
	return valueOf(command, 0x0110), false, nil
}

// valueOf is a US of a command set, 0 for none.
func valueOf(b []byte, element uint16) uint16 {
	for len(b) >= 10 {
		if binary.LittleEndian.Uint16(b[2:]) == element {
			return binary.LittleEndian.Uint16(b[8:])
		}
		b = b[min(len(b), 8+int(binary.LittleEndian.Uint32(b[4:]))):]
	}
	return 0
}

// Named are the SOPInstanceUIDs in one of the sequences of a report, with their
// FailureReason where they have one.
func (r Report) Named(sequence dicom.Tag) map[string]string {
	named := map[string]string{}
	e, _ := r.DataSet.Get(sequence)
	for _, item := range e.Items {
		named[item.String(0x00081155)] = item.String(0x00081197)
	}
	return named
}
