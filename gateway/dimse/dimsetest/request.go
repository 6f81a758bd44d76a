package dimsetest

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/gateway/dimse/pdu"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// dial opens a connection that nobody waits on for ever.
func dial(t testing.TB, addr string) (net.Conn, error) {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// associate asks for an association, which must be accepted.
func associate(c net.Conn, called, calling string, rq *pdu.AssociateRQ) (*pdu.AssociateAC, error) {
	rq.ProtocolVersion, rq.ApplicationContextName = pdu.ProtocolVersion, pdu.ApplicationContextName
	rq.CalledAETitle, rq.CallingAETitle, rq.User.ImplementationClassUID = called, calling, "2.25.1"
	b, err := rq.Append(nil)
	if err != nil {
		return nil, err
	}
	if _, err := c.Write(b); err != nil {
		return nil, err
	}
	kind, b, err := receive(c)
	if err != nil || kind != pdu.TypeAssociateAC {
		return nil, fmt.Errorf("a %s instead of an acceptance: %w", kind, err)
	}
	return pdu.DecodeAssociateAC(b)
}

// sendCancel sends a C-CANCEL-RQ.
func sendCancel(c net.Conn, message uint16) error {
	command := &dicomtest.Builder{Implicit: true}
	command.US(0x00000100, 0x0FFF).US(0x00000120, message).US(0x00000800, 0x0101)
	_, err := c.Write(Fragment(1, true, true, command.Bytes()))
	return err
}

// decode reads a Data Set.
func decode(transferSyntaxUID string, b []byte) (dicom.DataSet, error) {
	scanner := dicom.NewScanner(transferSyntaxUID, dicom.ScanLimits{})
	defer scanner.Abort()
	if _, err := scanner.Write(b); err != nil {
		return nil, err
	}
	found, err := scanner.Close()
	if err != nil {
		return nil, err
	}
	return found.DataSet, nil
}
