package dimse_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/access"
	"github.com/esante-alsace/cigogne/gateway/dimse"
	"github.com/esante-alsace/cigogne/gateway/dimse/dimsetest"
	"github.com/esante-alsace/cigogne/gateway/dimse/pdu"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

// TestRetrieveLevels: what an Identifier names goes out, and one that is not of
// the SOP class is refused.
func TestRetrieveLevels(t *testing.T) {
	h := &holder{}
	for i := range 6 {
		series := fmt.Sprintf("1.2.3.%d", 4+i/3)
		h.hold(series, fmt.Sprintf("1.2.3.4.%d", i), ctImageStorage, dimse.ExplicitVRLittleEndian, pattern(1000+i*2))
	}
	addr, _ := serveHeld(t, h, nil)
	takes := []pdu.ContextRQ{{AbstractSyntax: ctImageStorage, TransferSyntaxes: []string{dimse.ExplicitVRLittleEndian}}}
	for _, c := range []struct {
		name, level string
		keys        map[dicom.Tag]string
		want        dimse.Status
		sent        string // the last numbers of the UIDs
	}{
		{"study", "STUDY", study123, 0, "012345"},
		{"studies, one of which is there", "STUDY", map[dicom.Tag]string{tagStudy: `9.9\1.2.3\1.2.3`}, 0, "012345"},
		{"series", "SERIES", map[dicom.Tag]string{tagStudy: "1.2.3", tagSeries: "1.2.3.5"}, 0, "345"},
		{"several series", "SERIES", map[dicom.Tag]string{tagStudy: "1.2.3", tagSeries: `1.2.3.5\1.2.3.4`}, 0, "012345"},
		{"image", "IMAGE", map[dicom.Tag]string{tagStudy: "1.2.3", tagSeries: "1.2.3.4", tagSOP: "1.2.3.4.1"}, 0, "1"},
		{"images", "IMAGE", map[dicom.Tag]string{tagStudy: "1.2.3", tagSeries: "1.2.3.4", tagSOP: `1.2.3.4.1\1.2.3.4.5\1.2.3.4.2`}, 0, "12"},
		{"nothing", "STUDY", map[dicom.Tag]string{tagStudy: "9.9"}, 0, ""},
		{"no key", "SERIES", study123, dimse.StatusMismatch, ""},
		{"no study", "SERIES", map[dicom.Tag]string{tagSeries: "1.2.3.4"}, dimse.StatusMismatch, ""},
		{"a list above", "SERIES", map[dicom.Tag]string{tagStudy: `1.2.3\9.9`, tagSeries: "1.2.3.4"}, dimse.StatusMismatch, ""},
		{"no UID", "STUDY", map[dicom.Tag]string{tagStudy: "../x"}, dimse.StatusMismatch, ""},
		{"a level of another root", "PATIENT", map[dicom.Tag]string{tagPatient: "4711"}, dimse.StatusMismatch, ""},
		{"no level", "", study123, dimse.StatusMismatch, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := mustRetrieve(t, addr, dimsetest.Retrieval{SOPClassUID: dimse.StudyRootGet, Level: c.level, Keys: c.keys, Takes: takes})
			var sent []string
			for uid, dataSet := range got.DataSets {
				sent = append(sent, uid[len("1.2.3.4."):])
				if i := slices.IndexFunc(h.instances, func(in *held) bool { return in.about.Key.SOPInstanceUID == uid }); !bytes.Equal(dataSet, h.instances[i].dataSet) {
					t.Errorf("%s differs from what is stored", uid)
				}
			}
			slices.Sort(sent)
			last := got.Last()
			if strings.Join(sent, "") != c.sent || last.Status != c.want || c.want == 0 && (last.Completed != len(c.sent) || last.Failed != 0 || last.Remaining != -1) {
				t.Errorf("%v were sent, want %s; %+v", sent, c.sent, last)
			}
		})
	}
}

// TestMove: instances go to the destination in the transfer syntax they have,
// the requestor is told how far it is, and it is recorded.
func TestMove(t *testing.T) {
	h := &holder{}
	h.holdCT(3)
	h.hold("1.2.3.5", "1.2.3.5.1", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2.4.90", pattern(300_000))
	h.hold("1.2.3.5", "1.2.3.5.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2.1.99", pattern(1001))
	addr, dest := serveHeld(t, h, nil)
	got := mustRetrieve(t, addr, move(study123))
	if first := got.Responses[0]; first.Status != dimse.StatusPending || first.Remaining != 5 || first.Completed != 0 {
		t.Errorf("the first response is %+v", first)
	}
	if last := got.Last(); last.Status != 0 || last.Completed != 5 || last.Failed != 0 || last.Warning != 0 || last.Remaining != -1 || last.FailedUIDs != nil {
		t.Errorf("the last response is %+v", last)
	}
	for _, in := range h.instances {
		want := in.dataSet
		if len(want)%2 == 1 {
			want = append(slices.Clone(want), 0) // deflated
		}
		if b, _ := dest.instance(in.about.Key.SOPInstanceUID); !bytes.Equal(b, want) {
			t.Errorf("%s did not arrive as it is", in.about.Key.SOPInstanceUID)
		}
	}
	for _, in := range dest.incoming {
		i := slices.IndexFunc(h.instances, func(h *held) bool { return h.about.Key.SOPInstanceUID == in.SOPInstanceUID })
		if in.TransferSyntaxUID != h.instances[i].about.TransferSyntaxUID || in.SOPClassUID != h.instances[i].about.SOPClassUID {
			t.Errorf("%s came as %s in %s", in.SOPInstanceUID, in.SOPClassUID, in.TransferSyntaxUID)
		}
	}
	sums := map[string]int{}
	for _, s := range h.sent {
		if s.To.CallingAETitle != "REQUESTER" || s.To.CalledAETitle != "DEST" || s.Study != "1.2.3" || s.Cut {
			t.Errorf("recorded is %+v", s)
		}
		sums[s.Series] += s.Instances
	}
	if want := map[string]int{"1.2.3.4": 3, "1.2.3.5": 2}; !maps.Equal(sums, want) {
		t.Errorf("recorded are %v", sums)
	}
}

// TestMoveManyContexts: what needs more presentation contexts than an
// association has goes over several.
func TestMoveManyContexts(t *testing.T) {
	h := &holder{}
	for i := range 300 {
		h.hold("1.2.3.4", fmt.Sprintf("1.2.3.4.%d", i), fmt.Sprintf("1.2.276.0.99.%d", i), dimse.ExplicitVRLittleEndian, pattern(200))
	}
	addr, dest := serveHeld(t, h, nil)
	if last := mustRetrieve(t, addr, move(study123)).Last(); last.Status != 0 || last.Completed != 300 {
		t.Errorf("the last response is %+v", last)
	}
	if n := dest.counted(dimse.OutcomeAccepted); n != 3 || len(dest.instances) != 300 {
		t.Errorf("%d instances came over %d associations", len(dest.instances), n)
	}
}

// TestMoveFailures: what cannot be sent is named, and all else arrives.
func TestMoveFailures(t *testing.T) {
	h := &holder{}
	h.holdCT(20)
	h.instances[3].open = storage.ErrCorrupt
	h.instances[5].breaks = 500 // in the middle of its message
	h.instances[5].about.Size += 400_000
	h.instances[7].about.SOPClassUID = "" // has no context
	addr, dest := serveHeld(t, h, nil)
	dest.wait = func(_ context.Context, uid string) (gateway.Standing, error) {
		if uid == "1.2.3.4.9" {
			return 0, storage.ErrFull
		}
		return gateway.Stored, nil
	}
	last := mustRetrieve(t, addr, move(study123)).Last()
	slices.Sort(last.FailedUIDs)
	want := []string{"1.2.3.4.3", "1.2.3.4.5", "1.2.3.4.7", "1.2.3.4.9"}
	if last.Status != dimse.StatusSuboperationsFailed || last.Completed != 16 || last.Failed != 4 || !slices.Equal(last.FailedUIDs, want) {
		t.Errorf("the last response is %+v", last)
	}
	for i, in := range h.instances {
		uid := in.about.Key.SOPInstanceUID
		b, ok := dest.instance(uid)
		if failed := slices.Contains(want, uid); ok == failed || ok && !bytes.Equal(b, in.dataSet) {
			t.Errorf("instance %d: there %v, failed %v", i, ok, failed)
		}
	}
	if !slices.ContainsFunc(h.sent, func(s gateway.Sending) bool { return s.Cut }) {
		t.Error("that something was not sent is not recorded")
	}
}

// TestMoveRefused: what cannot begin says why.
func TestMoveRefused(t *testing.T) {
	h := &holder{}
	h.holdCT(2)
	addr, dest := serveHeld(t, h, nil)
	unknown := move(study123)
	unknown.Destination = "NOBODY"
	if last := mustRetrieve(t, addr, unknown).Last(); last.Status != dimse.StatusUnknownDestination {
		t.Errorf("an unknown destination: %+v", last)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.addresses["DOWN"] = ln.Addr().String()
	ln.Close()
	down := move(study123)
	down.Destination = "DOWN"
	if last := mustRetrieve(t, addr, down).Last(); last.Status != dimse.StatusCannotSend || last.Failed != 2 || len(last.FailedUIDs) != 2 {
		t.Errorf("a destination that is down: %+v", last)
	}
	forbidding, _ := serveHeld(t, h, func(c *dimse.Config) {
		c.Gatekeeper = access.Except{Gatekeeper: access.Open{}, Refused: map[access.Operation]string{access.Retrieve: "no"}}
	})
	if last := mustRetrieve(t, forbidding, move(study123)).Last(); last.Status != dimse.StatusNotAuthorized {
		t.Errorf("who may not: %+v", last)
	}
	if n := len(dest.instances); n != 0 {
		t.Errorf("%d instances arrived", n)
	}
}

// TestMoveCanceled: a C-CANCEL-RQ ends it, and the response says what remains.
func TestMoveCanceled(t *testing.T) {
	h := &holder{}
	h.holdCT(200)
	addr, dest := serveHeld(t, h, func(c *dimse.Config) { c.AsyncWindow = 1 })
	gate := make(chan struct{})
	dest.wait = func(ctx context.Context, _ string) (gateway.Standing, error) {
		select { // until the C-CANCEL-RQ is there
		case <-gate:
		case <-ctx.Done():
		}
		return gateway.Stored, nil
	}
	r := move(study123)
	r.CancelAfter = 1
	h.release(t, dest, gate)
	last := mustRetrieve(t, addr, r).Last()
	if last.Status != dimse.StatusCanceled || last.Remaining < 1 || last.Remaining+last.Completed != 200 || last.Failed != 0 {
		t.Errorf("the last response is %+v", last)
	}
}

// release opens the gate a second after the destination has the first instance:
// the C-CANCEL-RQ is sent with the response before.
func (h *holder) release(t *testing.T, dest *memory, gate chan struct{}) {
	t.Helper()
	receive := dest.receive
	var once sync.Once
	dest.receive = func(ctx context.Context, in gateway.Incoming) ([]byte, error) {
		once.Do(func() { time.AfterFunc(time.Second, func() { close(gate) }) })
		return receive(ctx, in)
	}
}

// TestMoveDestinationDies: an instance at which the destination ends the
// association each time has failed, and all others arrive.
func TestMoveDestinationDies(t *testing.T) {
	h := &holder{}
	h.holdCT(30)
	dest := newMemory()
	at, _ := serve(t, dest, func(c *dimse.Config) { c.AETitle, c.MaxDataSetLength = "DEST", 1<<20 })
	h.addresses = map[string]string{"DEST": at}
	addr, _ := serveHeld(t, h, nil)
	for _, i := range []int{0, 1, 17} { // no PDU that its limits allow
		h.instances[i].dataSet = pattern(3 << 20)
		h.instances[i].about.Size = heldPrefix + 3<<20
	}
	last := mustRetrieve(t, addr, move(study123)).Last()
	slices.Sort(last.FailedUIDs)
	if last.Completed != 27 || !slices.Equal(last.FailedUIDs, []string{"1.2.3.4.0", "1.2.3.4.1", "1.2.3.4.17"}) || len(dest.instances) != 27 {
		t.Errorf("the last response is %+v", last)
	}
}

// TestGetRoles: instances are given in the contexts for which the peer is an
// SCP, and fail in others.
func TestGetRoles(t *testing.T) {
	h := &holder{}
	h.holdCT(3)
	h.hold("1.2.3.5", "1.2.3.5.1", "1.2.840.10008.5.1.4.1.1.4", dimse.ExplicitVRLittleEndian, pattern(300_000))
	h.hold("1.2.3.5", "1.2.3.5.2", ctImageStorage, "1.2.840.10008.1.2.4.90", pattern(3000))
	addr, _ := serveHeld(t, h, nil)
	got := mustRetrieve(t, addr, dimsetest.Retrieval{
		SOPClassUID: dimse.StudyRootGet, Level: "STUDY", Keys: study123,
		Takes: []pdu.ContextRQ{{AbstractSyntax: ctImageStorage, TransferSyntaxes: []string{dimse.ImplicitVRLittleEndian, dimse.ExplicitVRLittleEndian}}},
		Answer: func(uid string) dimse.Status {
			return map[string]dimse.Status{"1.2.3.4.1": dimse.StatusOutOfResources, "1.2.3.4.2": 0xB007}[uid]
		},
	})
	last := got.Last()
	slices.Sort(last.FailedUIDs)
	if last.Status != dimse.StatusSuboperationsFailed || last.Completed != 1 || last.Warning != 1 || last.Failed != 3 ||
		!slices.Equal(last.FailedUIDs, []string{"1.2.3.4.1", "1.2.3.5.1", "1.2.3.5.2"}) {
		t.Errorf("the last response is %+v", last)
	}
	if want := []pdu.Role{{SOPClassUID: ctImageStorage, SCP: true}}; !slices.Equal(got.Roles, want) {
		t.Errorf("the roles are %+v", got.Roles)
	}
}

// TestGetRotten: an instance that rots in the middle of its message ends the
// association: it never arrives whole.
func TestGetRotten(t *testing.T) {
	h := &holder{}
	h.holdCT(2)
	h.instances[1].breaks = 500
	h.instances[1].about.Size += 400_000
	addr, _ := serveHeld(t, h, nil)
	got, err := dimsetest.Retrieve(t, addr, "CIGOGNE", dimsetest.Retrieval{
		SOPClassUID: dimse.StudyRootGet, Level: "STUDY", Keys: study123,
		Takes: []pdu.ContextRQ{{AbstractSyntax: ctImageStorage, TransferSyntaxes: []string{dimse.ExplicitVRLittleEndian}}},
	})
	if err == nil {
		t.Errorf("it ended well: %+v", got.Responses)
	}
	if _, there := got.DataSets["1.2.3.4.1"]; there {
		t.Error("the rotten instance arrived")
	}
}

// TestStalledDestination: one that answers nothing is given up, and others are
// served meanwhile.
func TestStalledDestination(t *testing.T) {
	h := &holder{}
	h.holdCT(4)
	ln, err := net.Listen("tcp", "127.0.0.1:0") // which takes connections, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	h.addresses = map[string]string{"DEST": ln.Addr().String()}
	addr, _ := serveHeld(t, h, func(c *dimse.Config) { c.ARTIM, c.MaxRetrievals = 2*time.Second, 2 })
	stalled := make(chan dimsetest.RetrieveResponse, 1)
	go func() {
		got, err := dimsetest.Retrieve(t, addr, "CIGOGNE", move(study123))
		if err != nil {
			t.Error(err)
			stalled <- dimsetest.RetrieveResponse{}
			return
		}
		stalled <- got.Last()
	}()
	got := mustRetrieve(t, addr, dimsetest.Retrieval{
		SOPClassUID: dimse.StudyRootGet, Level: "STUDY", Keys: study123,
		Takes: []pdu.ContextRQ{{AbstractSyntax: ctImageStorage, TransferSyntaxes: []string{dimse.ExplicitVRLittleEndian}}},
	})
	if last := got.Last(); last.Status != 0 || last.Completed != 4 {
		t.Errorf("beside it: %+v", last)
	}
	if last := <-stalled; last.Status != dimse.StatusCannotSend || last.Failed != 4 {
		t.Errorf("the stalled one: %+v", last)
	}
}

// TestDCMTKRetrieve: movescu and getscu get what is stored, bit for bit.
func TestDCMTKRetrieve(t *testing.T) {
	movescu, getscu := tool(t, "movescu"), tool(t, "getscu")
	h := &holder{addresses: map[string]string{}}
	for i, n := range []int{2, 1000, 130_000, 131_072, 526_338, 3_000_000} {
		uid := fmt.Sprintf("1.2.3.4.%d", i)
		_, dataSet := part10(uid, n)
		h.hold("1.2.3.4", uid, ctImageStorage, dimse.ExplicitVRLittleEndian, dataSet)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, own, _ := net.SplitHostPort(ln.Addr().String())
	ln.Close()
	h.addresses["MOVESCU"] = "127.0.0.1:" + own
	addr, _ := serveHeld(t, h, nil)
	host, port, _ := net.SplitHostPort(addr)
	keys := []string{"-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2.3", host, port}
	for name, args := range map[string][]string{
		movescu: {"-S", "-aec", "CIGOGNE", "-aem", "MOVESCU", "+P", own, "+B"},
		getscu:  {"-S", "-aec", "CIGOGNE", "+B"},
	} {
		t.Run(filepath.Base(name), func(t *testing.T) {
			dir := t.TempDir()
			cmd := exec.CommandContext(t.Context(), name, append(args, keys...)...)
			cmd.Dir = dir // movescu +B knows no other
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, in := range h.instances {
				found, err := filepath.Glob(filepath.Join(dir, "*"+in.about.Key.SOPInstanceUID))
				if err != nil || len(found) != 1 {
					t.Fatalf("it has %v of %s, %v", found, in.about.Key.SOPInstanceUID, err)
				}
				if b, err := os.ReadFile(found[0]); err != nil || !bytes.HasSuffix(b, in.dataSet) {
					t.Errorf("%s differs: %v", in.about.Key.SOPInstanceUID, err)
				}
			}
		})
	}
	out, err := exec.CommandContext(t.Context(), movescu, append([]string{"-S", "-aec", "CIGOGNE", "-aem", "NOBODY"}, keys...)...).CombinedOutput()
	if !strings.Contains(string(out), "MoveDestinationUnknown") {
		t.Errorf("an unknown destination: %v\n%s", err, out)
	}
}
