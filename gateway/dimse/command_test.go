package dimse

import (
	"errors"
	"testing"
)

// FuzzCommand decodes command sets; what was decoded must survive encoding.
func FuzzCommand(f *testing.F) {
	for _, c := range []command{
		{Field: cEchoRQ, MessageID: 7, DataSetType: noDataSet, AffectedSOPClassUID: Verification},
		{Field: cStoreRQ, MessageID: 9, AffectedSOPClassUID: "1.2", AffectedSOPInstanceUID: "1.2.3"},
		{Field: cStoreRQ | responseBit, MessageIDBeingRespondedTo: 9, DataSetType: noDataSet, Status: StatusOutOfResources, ErrorComment: "full"},
		{Field: nActionRQ, MessageID: 3, RequestedSOPClassUID: StorageCommitment, RequestedSOPInstanceUID: storageCommitmentInstance, ActionTypeID: 1},
		{Field: nEventReportRQ, MessageID: 4, AffectedSOPClassUID: StorageCommitment, AffectedSOPInstanceUID: storageCommitmentInstance, EventTypeID: 2},
	} {
		f.Add(c.append(nil))
	}
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
			first.MessageID = 0
		} else {
			first.MessageIDBeingRespondedTo, first.Status, first.ErrorComment = 0, 0, ""
		}
		second, err := decodeCommand(first.append(nil))
		if err != nil || second != first {
			t.Fatalf("%+v, then %+v, %v", first, second, err)
		}
	})
}
