package index

import (
	"fmt"

	"github.com/esante-alsace/cigogne/storage"
)

// Act is who did what is recorded, when and why.
type Act struct {
	At  int64  `cbor:"1,keyasint,omitempty"` // nanoseconds of Unix time
	By  string `cbor:"2,keyasint,omitempty"`
	Why string `cbor:"3,keyasint,omitempty"`
}

// actBytes bounds each text of an Act.
const actBytes = 2048

func (a Act) validate() error {
	if a.At < 0 {
		return fmt.Errorf("%w: an act before 1970", storage.ErrInvalid)
	}
	if len(a.By) > actBytes || len(a.Why) > actBytes {
		return fmt.Errorf("%w: who and why take at most %d bytes each", storage.ErrInvalid, actBytes)
	}
	return nil
}

// DeletionState is where a deletion is in its life.
type DeletionState int

const (
	// DeletionMarked means: nothing of it is found, and it can be undone.
	DeletionMarked DeletionState = iota + 1
	// DeletionDecided means: its packs are being removed from the archives.
	DeletionDecided
	// DeletionRemoved means: no archive that was asked has any of it.
	DeletionRemoved
	// DeletionUndone means: it was put back.
	DeletionUndone
)

// String is the state in one word.
func (s DeletionState) String() string {
	switch s {
	case DeletionMarked:
		return "marked"
	case DeletionDecided:
		return "removing"
	case DeletionRemoved:
		return "removed"
	case DeletionUndone:
		return "undone"
	}
	return "unknown"
}

// DeletionStep is what a Deletion does.
type DeletionStep int

const (
	// MarkDeletion takes a study, or a series of it, out of sight. It does
	// nothing when there is none, or when a hold or retention protects it At.
	MarkDeletion DeletionStep = iota + 1
	// UndoDeletion puts back what is marked. It does nothing when some of it
	// has come again meanwhile.
	UndoDeletion
	// DecideDeletion ends the time in which a deletion can be undone. It does
	// nothing before Due, or when a hold or retention protects the study At.
	DecideDeletion
	// PackGone tells that a pack of a decided deletion is in no archive of
	// Archives any more.
	PackGone
	// RestoreDeletion enters a deletion as an archive has it (rebuild). One that
	// is marked takes what is there of it out of sight.
	RestoreDeletion
)

// Deletion is one step in the life of a deletion. A step that does not fit the
// state in which the deletion is changes nothing, so that each can be repeated:
// who proposed it asks for the DeletionRecord afterwards.
type Deletion struct {
	ID   string       `cbor:"1,keyasint"`
	Step DeletionStep `cbor:"2,keyasint"`
	Act  Act          `cbor:"3,keyasint"`
	// What MarkDeletion takes; no SeriesInstanceUID is the whole study.
	StudyInstanceUID  string `cbor:"4,keyasint,omitempty"`
	SeriesInstanceUID string `cbor:"5,keyasint,omitempty"`
	// Due is until when it can be undone at least.
	Due int64 `cbor:"6,keyasint,omitempty"`
	// PackID and Archives are of PackGone; Last says that every archive that
	// may have the pack was asked.
	PackID   string   `cbor:"7,keyasint,omitempty"`
	Archives []string `cbor:"8,keyasint,omitempty"`
	Last     bool     `cbor:"9,keyasint,omitempty"`
	// Record is of RestoreDeletion, and Aside are instances in a journal that
	// are kept aside although nothing may be left of what they are in conflict
	// with.
	Record *DeletionRecord `cbor:"10,keyasint,omitempty"`
	Aside  []Instance      `cbor:"-"` // wireDeletion has it
}

// DeletionRecord is all that is known of a deletion.
type DeletionRecord struct {
	ID                string        `cbor:"1,keyasint"`
	StudyInstanceUID  string        `cbor:"2,keyasint"`
	SeriesInstanceUID string        `cbor:"3,keyasint,omitempty"` // empty for the whole study
	State             DeletionState `cbor:"4,keyasint"`
	// Revision grows with each change of any deletion or protection.
	Revision int64 `cbor:"5,keyasint"`
	Marked   Act   `cbor:"6,keyasint"`
	Due      int64 `cbor:"7,keyasint"`
	Undone   Act   `cbor:"8,keyasint"`
	// Decided and Removed are when it was, or 0.
	Decided   int64 `cbor:"9,keyasint,omitempty"`
	Removed   int64 `cbor:"10,keyasint,omitempty"`
	Series    int64 `cbor:"11,keyasint"`
	Instances int64 `cbor:"12,keyasint"`
	// Through is how far each journal was indexed at that moment: what lies in
	// it up to there is deleted, what comes later is not.
	Through []Position `cbor:"13,keyasint,omitempty"`
	// Packs are those that held it, the planned ones included.
	Packs []DeletedPack `cbor:"14,keyasint,omitempty"`
	// Aside are the digests of the instances under the same names that were
	// kept aside, and still are: they are not deleted.
	Aside []storage.Digest `cbor:"15,keyasint,omitempty"`
}

// DeletedPack is a pack that a deletion takes away.
type DeletedPack struct {
	SeriesInstanceUID string `cbor:"1,keyasint"`
	PackID            string `cbor:"2,keyasint"`
	// Key is where it lies in its archives; empty when it was only planned.
	Key string `cbor:"3,keyasint,omitempty"`
}

// Covers tells whether an instance of the study and series that lies at the
// journal position is one that was deleted, and did not come afterwards.
func (r *DeletionRecord) Covers(study, series string, at Position) bool {
	if study != r.StudyInstanceUID || r.SeriesInstanceUID != "" && series != r.SeriesInstanceUID || r.State == DeletionUndone {
		return false
	}
	for _, p := range r.Through {
		if p.Journal == at.Journal {
			return !at.after(p)
		}
	}
	return false
}

func (d Deletion) validate() error {
	if !validName(d.ID) || len(d.Archives) > BatchRows {
		return fmt.Errorf("%w: the name of a deletion", storage.ErrInvalid)
	}
	if err := d.Act.validate(); err != nil {
		return err
	}
	switch d.Step {
	case MarkDeletion:
		if !storage.ValidUID(d.StudyInstanceUID) || d.SeriesInstanceUID != "" && !storage.ValidUID(d.SeriesInstanceUID) || d.Due < 0 {
			return fmt.Errorf("%w: deletion %s names no study", storage.ErrInvalid, d.ID)
		}
	case PackGone:
		if !validName(d.PackID) {
			return fmt.Errorf("%w: deletion %s names no pack", storage.ErrInvalid, d.ID)
		}
	case RestoreDeletion:
		return d.validateRecord()
	case UndoDeletion, DecideDeletion:
	default:
		return fmt.Errorf("%w: deletion %s has no step", storage.ErrInvalid, d.ID)
	}
	return nil
}

func (d *Deletion) validateRecord() error {
	if d.Record == nil || d.Record.ID != d.ID || len(d.Aside) > BatchRows {
		return fmt.Errorf("%w: deletion %s has no record", storage.ErrInvalid, d.ID)
	}
	for i := range d.Aside {
		if err := d.Aside[i].validate(); err != nil {
			return err
		}
	}
	return d.Record.validate()
}

func (r *DeletionRecord) validate() error {
	named := storage.ValidUID(r.StudyInstanceUID) && (r.SeriesInstanceUID == "" || storage.ValidUID(r.SeriesInstanceUID))
	bounded := r.Revision >= 0 && r.Due >= 0 && len(r.Packs) <= BatchRows && len(r.Aside) <= BatchRows
	if !named || !bounded || r.State < DeletionMarked || r.State > DeletionUndone {
		return fmt.Errorf("%w: the record of deletion %s", storage.ErrInvalid, r.ID)
	}
	for _, p := range r.Packs {
		if err := p.validate(); err != nil {
			return err
		}
	}
	for _, at := range r.Through {
		if err := at.validate(); err != nil {
			return err
		}
	}
	return nil
}

func (p *DeletedPack) validate() error {
	if !validName(p.PackID) || !storage.ValidUID(p.SeriesInstanceUID) || len(p.Key) > nameBytes {
		return fmt.Errorf("%w: a pack in the record of a deletion", storage.ErrInvalid)
	}
	return nil
}
