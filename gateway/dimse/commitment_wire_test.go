package dimse_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/esante-alsace/cigogne/gateway/access"
	"github.com/esante-alsace/cigogne/gateway/commitment"
	"github.com/esante-alsace/cigogne/gateway/dimse"
	"github.com/esante-alsace/cigogne/gateway/dimse/dimsetest"
	"github.com/esante-alsace/cigogne/gateway/dimse/pdu"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// committer is a Committer that answers as it is told.
type committer struct {
	asked chan commitment.Request
	err   error
}

func (c *committer) Ask(_ context.Context, rq commitment.Request) error {
	c.asked <- rq
	return c.err
}

const wellKnown = "1.2.840.10008.1.20.1.1"

// actionRQ is an N-ACTION of the class, on the instance.
func actionRQ(class, instance string, action uint16) []byte {
	return commandSet(element{0x0003, class}, element{0x0100, uint16(0x0130)}, element{0x0110, uint16(5)},
		element{0x0800, uint16(0)}, element{0x1001, instance}, element{0x1008, action})
}

// askFor is the action information of a request for one instance.
func askFor(sop string) []byte {
	return (&dicomtest.Builder{}).Text(0x00081195, "UI", "1.2.3").Sequence(0x00081199, func(b *dicomtest.Builder) {
		b.Text(0x00081150, "UI", ctImageStorage).Text(0x00081155, "UI", sop)
	}).Bytes()
}

// commitmentAssociation opens context 1, Storage Commitment, in Explicit VR
// Little Endian.
func commitmentAssociation(t *testing.T, addr string) *raw {
	t.Helper()
	b, err := (&pdu.AssociateRQ{
		ProtocolVersion: 1, CalledAETitle: "CIGOGNE", CallingAETitle: "CT1", ApplicationContextName: pdu.ApplicationContextName,
		Contexts: []pdu.ContextRQ{{ID: 1, AbstractSyntax: dimse.StorageCommitment, TransferSyntaxes: []string{dimse.ExplicitVRLittleEndian}}},
		User:     pdu.UserInformation{Roles: []pdu.Role{{SOPClassUID: dimse.StorageCommitment, SCU: true, SCP: true}}},
	}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	r := connect(t, addr)
	r.send(b)
	ac, err := pdu.DecodeAssociateAC(r.receive()[pdu.HeaderLength:])
	if err != nil || ac.Contexts[0].Result != pdu.ContextAccepted || !reflect.DeepEqual(ac.User.Roles, []pdu.Role{{SOPClassUID: dimse.StorageCommitment, SCU: true}}) {
		t.Fatalf("%+v, %v", ac, err)
	}
	return r
}

// TestActionStatus: what is answered to a request for storage commitment; the
// association goes on after each.
func TestActionStatus(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("%w: PatientName Müller", err) }
	whole := askFor("1.2.9")
	for _, c := range []struct {
		name            string
		class, instance string
		action          uint16
		ds              []byte
		err             error
		want            dimse.Status
	}{
		{"taken", dimse.StorageCommitment, wellKnown, 1, whole, nil, dimse.StatusSuccess},
		{"another class", ctImageStorage, wellKnown, 1, whole, nil, dimse.StatusNoSuchClass},
		{"another instance", dimse.StorageCommitment, "1.2.3", 1, whole, nil, dimse.StatusNoSuchInstance},
		{"another action", dimse.StorageCommitment, wellKnown, 2, whole, nil, dimse.StatusNoSuchAction},
		{"not well-formed", dimse.StorageCommitment, wellKnown, 1, whole[:9], nil, dimse.StatusInvalidArgument},
		{"transaction in use", dimse.StorageCommitment, wellKnown, 1, whole, wrap(storage.ErrConflict), dimse.StatusInvalidArgument},
		{"too many", dimse.StorageCommitment, wellKnown, 1, whole, wrap(storage.ErrFull), dimse.StatusResourceLimitation},
		{"of no site", dimse.StorageCommitment, wellKnown, 1, whole, wrap(storage.ErrForbidden), dimse.StatusNotAuthorized},
		{"no address", dimse.StorageCommitment, wellKnown, 1, whole, wrap(storage.ErrUnsupported), dimse.StatusProcessingFailure},
		{"not now", dimse.StorageCommitment, wellKnown, 1, whole, wrap(storage.ErrUnavailable), dimse.StatusProcessingFailure},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, to := newMemory(), &committer{asked: make(chan commitment.Request, 2), err: c.err}
			addr, _ := serve(t, m, func(cfg *dimse.Config) { cfg.Committer = to })
			r := commitmentAssociation(t, addr)
			for range 2 {
				r.send(append(data(1, true, true, actionRQ(c.class, c.instance, c.action)), data(1, false, true, c.ds)...))
				if status, id := r.status(); dimse.Status(status) != c.want || id != 5 {
					t.Fatalf("%04X to message %d, want %s", status, id, c.want)
				}
			}
			if got := m.counted("N-ACTION " + c.want.String()); got != 2 {
				t.Errorf("counted %d", got)
			}
			if c.want != dimse.StatusSuccess {
				return
			}
			rq := <-to.asked
			o := rq.Origin
			if rq.TransactionUID != "1.2.3" || len(rq.References) != 1 || rq.References[0].SOPInstanceUID != "1.2.9" ||
				o.Transport != "dimse" || o.CallingAETitle != "CT1" || o.CalledAETitle != "CIGOGNE" || o.ID == "" || o.RemoteAddr == "" {
				t.Errorf("asked for %+v", rq)
			}
		})
	}
}

// TestActionRefused: what may not be, does not get to the Committer,
// and nothing is stored in a context of Storage Commitment.
func TestActionRefused(t *testing.T) {
	to := &committer{asked: make(chan commitment.Request, 1)}
	bare := commandSet(element{0x0003, dimse.StorageCommitment}, element{0x0100, uint16(0x0130)}, element{0x0110, uint16(5)},
		element{0x0800, uint16(0x0101)}, element{0x1001, wellKnown}, element{0x1008, uint16(1)})
	addr, _ := serve(t, newMemory(), func(cfg *dimse.Config) { cfg.Committer = to })
	r := commitmentAssociation(t, addr)
	r.send(data(1, true, true, bare))
	if status, _ := r.status(); dimse.Status(status) != dimse.StatusInvalidArgument {
		t.Errorf("without a data set: %04X", status)
	}
	r.send(append(data(1, true, true, storeCommand(dimse.StorageCommitment, "1.2.3")), data(1, false, true, pattern(100))...))
	if status, _ := r.status(); dimse.Status(status) != dimse.StatusSOPClassNotSupported {
		t.Errorf("a C-STORE: %04X", status)
	}
	addr, _ = serve(t, newMemory(), func(cfg *dimse.Config) {
		cfg.Committer = to
		cfg.Gatekeeper = access.Except{Gatekeeper: access.Open{}, Refused: map[access.Operation]string{access.Commit: "no"}}
	})
	r = commitmentAssociation(t, addr)
	r.send(append(data(1, true, true, actionRQ(dimse.StorageCommitment, wellKnown, 1)), data(1, false, true, askFor("1.2"))...))
	if status, _ := r.status(); dimse.Status(status) != dimse.StatusNotAuthorized {
		t.Errorf("forbidden: %04X", status)
	}
	if len(to.asked) > 0 {
		t.Errorf("asked for %+v", <-to.asked)
	}
}

// TestReport tells peers, which choose their transfer syntax, what came of
// their request.
func TestReport(t *testing.T) {
	ct := func(sop string) commitment.Reference {
		return commitment.Reference{SOPClassUID: ctImageStorage, SOPInstanceUID: sop}
	}
	scp := []pdu.Role{{SOPClassUID: dimse.StorageCommitment, SCP: true}}
	scu := []pdu.Role{{SOPClassUID: dimse.StorageCommitment, SCU: true}}
	failed := []commitment.Failure{{Reference: ct("1.2.2"), Reason: commitment.NoSuchInstance}}
	for _, c := range []struct {
		name, transferSyntax string
		grant                []pdu.Role
		failed               []commitment.Failure
		status               uint16
		want                 error
	}{
		{"all is committed", dimse.ExplicitVRLittleEndian, scp, nil, 0, nil},
		{"failures", dimse.ImplicitVRLittleEndian, scp, failed, 0, nil},
		{"says nothing of roles", dimse.ExplicitVRLittleEndian, nil, failed, 0, nil},
		{"does not take it", dimse.ExplicitVRLittleEndian, scp, nil, 0x0110, nil},
		{"wants to be the SCP", dimse.ExplicitVRLittleEndian, scu, nil, 0, dimse.ErrNoContext},
	} {
		t.Run(c.name, func(t *testing.T) {
			peer := dimsetest.NewSCU(t, "CT1")
			peer.TransferSyntaxUID, peer.Roles = c.transferSyntax, c.grant
			peer.Answer(dimse.Status(c.status))
			a, err := tryDial(peer.Addr(), func(cfg *dimse.SCUConfig) { cfg.Contexts = dimse.CommitmentContexts() })
			if err != nil {
				t.Fatal(err)
			}
			defer a.Abort()
			status, err := a.Report(t.Context(), commitment.Report{TransactionUID: "1.2.3", Committed: []commitment.Reference{ct("1.2.1")}, Failed: c.failed})
			if !errors.Is(err, c.want) || err == nil && uint16(status) != c.status {
				t.Fatalf("%s, %v", status, err)
			}
			if c.want != nil {
				return
			}
			got := peer.Next()
			event, failures := uint16(1), map[string]string{}
			if len(c.failed) > 0 {
				event, failures = 2, map[string]string{"1.2.2": "274"}
			}
			if got.EventTypeID != event || !reflect.DeepEqual(got.Roles, scp) || got.DataSet.String(0x00081195) != "1.2.3" ||
				!reflect.DeepEqual(got.Named(0x00081198), failures) || !reflect.DeepEqual(got.Named(0x00081199), map[string]string{"1.2.1": ""}) {
				t.Errorf("was told %+v", got)
			}
			if err := a.Release(t.Context()); err != nil {
				t.Errorf("Release: %v", err)
			}
		})
	}
}
