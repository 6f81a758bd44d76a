package dimse

import (
	"bytes"
	"context"
	"strconv"

	"github.com/esante-alsace/cigogne/gateway/commitment"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

// CommitmentContexts are the presentation contexts in which an SCP of Storage
// Commitment reports over an association of its own (PS3.4 §J.3.3). Each has
// one transfer syntax, as the peer chooses.
func CommitmentContexts() []ProposedContext {
	return []ProposedContext{
		{AbstractSyntax: StorageCommitment, TransferSyntaxes: []string{ExplicitVRLittleEndian}, Provider: true},
		{AbstractSyntax: StorageCommitment, TransferSyntaxes: []string{ImplicitVRLittleEndian}, Provider: true},
	}
}

// Report tells the peer what came of its request for storage commitment
// (N-EVENT-REPORT), and returns the peer's status. It needs one of
// CommitmentContexts.
func (a *Association) Report(ctx context.Context, r commitment.Report) (Status, error) {
	encode := dicom.AppendExplicit
	pc, err := a.context(StorageCommitment, ExplicitVRLittleEndian)
	if err != nil {
		encode = dicom.AppendImplicit
		if pc, err = a.context(StorageCommitment, ImplicitVRLittleEndian); err != nil {
			return 0, err
		}
	}
	ds, err := encode(nil, reportDataSet(r))
	if err != nil {
		return 0, err
	}
	c := command{
		Field:               nEventReportRQ,
		AffectedSOPClassUID: StorageCommitment, AffectedSOPInstanceUID: storageCommitmentInstance, EventTypeID: eventAllCommitted,
	}
	if len(r.Failed) > 0 {
		c.EventTypeID = eventFailuresExist
	}
	return a.request(ctx, pc, &c, bytes.NewReader(ds))
}

// reportDataSet is the Data Set of PS3.4 Table J.3-2.
func reportDataSet(r commitment.Report) dicom.DataSet {
	ds := dicom.DataSet{{Tag: tagTransactionUID, VR: "UI", Values: []string{r.TransactionUID}}}
	if len(r.Failed) > 0 {
		failed := make([]dicom.DataSet, len(r.Failed))
		for i, f := range r.Failed {
			failed[i] = append(referenceItem(f.Reference), dicom.Element{
				Tag: tagFailureReason, VR: "US", Values: []string{strconv.Itoa(int(f.Reason))},
			})
		}
		ds = append(ds, dicom.Element{Tag: tagFailedSOPSequence, VR: "SQ", Items: failed})
	}
	if len(r.Committed) > 0 {
		committed := make([]dicom.DataSet, len(r.Committed))
		for i, c := range r.Committed {
			committed[i] = referenceItem(c)
		}
		ds = append(ds, dicom.Element{Tag: tagReferencedSOPSequence, VR: "SQ", Items: committed})
	}
	return ds
}

func referenceItem(r commitment.Reference) dicom.DataSet {
	return dicom.DataSet{
		{Tag: tagReferencedSOPClassUID, VR: "UI", Values: []string{r.SOPClassUID}},
		{Tag: tagReferencedSOPInstanceUID, VR: "UI", Values: []string{r.SOPInstanceUID}},
	}
}
