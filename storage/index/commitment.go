package index

import (
	"fmt"

	"github.com/esante-alsace/cigogne/storage"
)

// Bounds of commitments. What one asks for beyond CommitmentReferences is
// storage.ErrInvalid; a request that would pass one of the others is not
// entered.
const (
	CommitmentReferences = BatchRows
	// CommitmentsOpen is the most that are open, CommitmentsOfOne those of one
	// AE title, and CommitmentReferencesOpen what all of them name.
	CommitmentsOpen          = 10_000
	CommitmentsOfOne         = 1_000
	CommitmentReferencesOpen = 5_000_000
	// commitmentsEnded is how many are remembered that have ended.
	commitmentsEnded = 1_000
	titleBytes       = 16
)

// CommitmentID names a request for storage commitment (PS3.4 §J): a
// TransactionUID is its asker's to be unique.
type CommitmentID struct {
	CallingAETitle string `cbor:"1,keyasint"`
	TransactionUID string `cbor:"2,keyasint"`
}

// CommitmentStep is a step of a Commitment.
type CommitmentStep int

const (
	// AskCommitment enters a request. One that is open already stays as it is.
	AskCommitment CommitmentStep = iota + 1
	// SettleCommitment decides what of it is committed: all but Failed.
	SettleCommitment
	// DelayCommitment tells that its asker did not take the report, Why, and
	// when Due it is tried again.
	DelayCommitment
	// EndCommitment tells that its asker knows, or will not be told any more.
	EndCommitment
)

// Commitment is a step of a request for storage commitment. One that does not
// fit does nothing, so that each can be proposed twice.
type Commitment struct {
	ID   CommitmentID   `cbor:"1,keyasint"`
	Step CommitmentStep `cbor:"2,keyasint"`
	// Origin is who asks, and Asked for what.
	Origin storage.Origin   `cbor:"3,keyasint"`
	Asked  []ClassInstances `cbor:"4,keyasint,omitempty"`
	// Failed is what is not committed, in ascending order of Reference, and
	// Committed of which series the rest is.
	Failed    []FailedReference `cbor:"5,keyasint,omitempty"`
	Committed []CommittedSeries `cbor:"6,keyasint,omitempty"`
	Due       int64             `cbor:"7,keyasint,omitempty"` // nanoseconds of Unix time
	Why       string            `cbor:"8,keyasint,omitempty"`
}

// ClassInstances are instances of one SOP class.
type ClassInstances struct {
	SOPClassUID string   `cbor:"1,keyasint"`
	SOPs        []string `cbor:"2,keyasint"` // SOPInstanceUIDs
}

// FailedReference is an instance that is not committed.
type FailedReference struct {
	_ struct{} `cbor:",toarray"`
	// Reference counts what is asked for, class by class, from 0.
	Reference int
	Reason    uint16 // FailureReason (0008,1197)
}

// CommittedSeries tells how many instances of a series are committed.
type CommittedSeries struct {
	StudyInstanceUID  string `cbor:"1,keyasint"`
	SeriesInstanceUID string `cbor:"2,keyasint"`
	Instances         int64  `cbor:"3,keyasint"`
	Bytes             int64  `cbor:"4,keyasint,omitempty"`
}

// CommitmentState is how far a request has come.
type CommitmentState int

// The states.
const (
	CommitmentWaiting CommitmentState = iota // for instances to be archived
	CommitmentSettled                        // its asker is to be told
	CommitmentEnded
)

// CommitmentEntry is a request and what became of it.
type CommitmentEntry struct {
	CommitmentID
	Sequence   int64 // counts requests in the order of coming
	State      CommitmentState
	References int
	// Due is when the report is tried again, in nanoseconds of Unix time.
	Due int64
	CommitmentRecord
}

// CommitmentRecord is what is remembered of a request for its whole life.
type CommitmentRecord struct {
	Origin storage.Origin `cbor:"1,keyasint"`
	At     int64          `cbor:"2,keyasint"` // nanoseconds of Unix time
	// Digest is that of what is asked for: see AskedDigest.
	Digest storage.Digest `cbor:"3,keyasint"`
	// Settled is when it was, and Failed how many instances are not committed.
	Settled int64 `cbor:"4,keyasint,omitempty"`
	Failed  int   `cbor:"5,keyasint,omitempty"`
	// Attempts to report failed, the last because of Trouble.
	Attempts int64  `cbor:"6,keyasint,omitempty"`
	Trouble  string `cbor:"7,keyasint,omitempty"`
}

// AskedDigest tells whether two requests ask for the same, in the same order.
func AskedDigest(asked []ClassInstances) storage.Digest {
	h := storage.NewDigester()
	for _, class := range asked {
		fmt.Fprintf(h, "%s\n", class.SOPClassUID)
		for _, sop := range class.SOPs {
			fmt.Fprintf(h, " %s\n", sop)
		}
	}
	return h.Digest()
}

func (c Commitment) validate() error {
	switch {
	case !storage.ValidUID(c.ID.TransactionUID), c.ID.CallingAETitle == "" || len(c.ID.CallingAETitle) > titleBytes,
		c.Step < AskCommitment || c.Step > EndCommitment, c.Due < 0, len(c.Why) > actBytes,
		(c.Step == AskCommitment) != (len(c.Asked) > 0), c.Step != SettleCommitment && len(c.Failed)+len(c.Committed) > 0:
		return fmt.Errorf("%w: a commitment", storage.ErrInvalid)
	}
	if n, ok := countAsked(c.Asked); !ok || n > CommitmentReferences {
		return fmt.Errorf("%w: what a commitment asks for", storage.ErrInvalid)
	}
	if !shortTexts(&c.Origin) {
		return fmt.Errorf("%w: who asks for a commitment", storage.ErrInvalid)
	}
	return c.validateDecision()
}

// validateDecision holds what was decided to its bounds.
func (c *Commitment) validateDecision() error {
	if max(len(c.Failed), len(c.Committed)) > CommitmentReferences {
		return fmt.Errorf("%w: a commitment of more than %d instances", storage.ErrInvalid, CommitmentReferences)
	}
	for i, f := range c.Failed {
		if f.Reference < 0 || f.Reference >= CommitmentReferences || i > 0 && c.Failed[i-1].Reference >= f.Reference {
			return fmt.Errorf("%w: a failure of a commitment", storage.ErrInvalid)
		}
	}
	for _, s := range c.Committed {
		if !storage.ValidUID(s.StudyInstanceUID) || !storage.ValidUID(s.SeriesInstanceUID) || s.Instances < 1 || s.Bytes < 0 {
			return fmt.Errorf("%w: a committed series", storage.ErrInvalid)
		}
	}
	return nil
}

// countAsked counts the references; false when one is not well formed.
func countAsked(asked []ClassInstances) (n int, ok bool) {
	for _, class := range asked {
		if !storage.ValidUID(class.SOPClassUID) || len(class.SOPs) == 0 {
			return 0, false
		}
		for _, sop := range class.SOPs {
			if !storage.ValidUID(sop) {
				return 0, false
			}
		}
		n += len(class.SOPs)
	}
	return n, true
}
