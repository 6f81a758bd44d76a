package dimse

import (
	"errors"
	"strings"
	"testing"
)

// FuzzCommand decodes command sets; what was decoded must survive encoding.
func FuzzCommand(f *testing.F) {
	for _, c := range []command{
		{Field: cEchoRQ, MessageID: 7, DataSetType: noDataSet, AffectedSOPClassUID: Verification},
		{Field: cStoreRQ, MessageID: 9, AffectedSOPClassUID: "1.2", AffectedSOPInstanceUID: "1.2.3"},
		{Field: cStoreRQ | responseBit, MessageIDBeingRespondedTo: 9, DataSetType: noDataSet, Status: StatusOutOfResources, ErrorComment: "full"},
		{Field: cMoveRQ, MessageID: 5, AffectedSOPClassUID: StudyRootMove, MoveDestination: "HTP_PACS"},
		{Field: nActionRQ, MessageID: 3, RequestedSOPClassUID: StorageCommitment, RequestedSOPInstanceUID: storageCommitmentInstance, ActionTypeID: 1},
		{Field: nEventReportRQ, MessageID: 4, AffectedSOPClassUID: StorageCommitment, AffectedSOPInstanceUID: storageCommitmentInstance, EventTypeID: 2},
	} {
		f.Add(c.append(nil))
	}
	f.Add(append((&command{Field: cMoveRQ | responseBit, DataSetType: noDataSet}).append(nil), appendText(nil, elementMoveDestination, "HTP_PACS", ' ')...))
	f.Add([]byte{0, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF, 0x30, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		first, err := decodeCommand(b)
		if err != nil {
			var m *misuse
			if !errors.As(err, &m) {
				t.Fatalf("not an error of the message exchange: %v", err)
			}
			return
		}
		// Of a request only what requests have is written, and the other way round.
		if first.Field&responseBit != 0 {
			first.MessageID, first.MoveDestination = 0, ""
		} else {
			first.MessageIDBeingRespondedTo, first.Status, first.ErrorComment = 0, 0, ""
		}
		second, err := decodeCommand(first.append(nil))
		if err != nil || second != first {
			t.Fatalf("%+v, then %+v, %v", first, second, err)
		}
	})
}

// TestRetrievalCommands: a C-STORE says for whose C-MOVE it is, and a response
// counts what remains only while there is more to come.
func TestRetrievalCommands(t *testing.T) {
	rq := StoreRequest{SOPClassUID: "1.2", SOPInstanceUID: "1.2.3", MoveOriginatorAETitle: "PACS", MoveOriginatorMessageID: 258}
	c := rq.command()
	want := "\x00\x00\x30\x10\x04\x00\x00\x00PACS" + "\x00\x00\x31\x10\x02\x00\x00\x00\x02\x01"
	if got := string(c.append(nil)); !strings.HasSuffix(got, want) {
		t.Errorf("% x does not end with % x", got, want)
	}
	for status, counts := range map[Status]string{
		StatusPending:             "\x00\x00\x20\x10\x02\x00\x00\x00\x04\x00",
		StatusCanceled:            "\x00\x00\x20\x10\x02\x00\x00\x00\x04\x00",
		StatusSuboperationsFailed: "",
	} {
		c := command{Field: cMoveRQ | responseBit, DataSetType: noDataSet, Status: status, Suboperations: &suboperations{remaining: 4, completed: 3, failed: 2, warning: 1}}
		counts += "\x00\x00\x21\x10\x02\x00\x00\x00\x03\x00" + "\x00\x00\x22\x10\x02\x00\x00\x00\x02\x00" + "\x00\x00\x23\x10\x02\x00\x00\x00\x01\x00"
		got := string(c.append(nil))
		if !strings.HasSuffix(got, counts) || status == StatusSuboperationsFailed && strings.Contains(got, "\x20\x10\x02") {
			t.Errorf("%s: % x does not end with % x", status, got, counts)
		}
	}
}
