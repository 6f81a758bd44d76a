package index

import (
	"fmt"

	"github.com/esante-alsace/cigogne/storage"
)

// Life is what is decided about studies as wholes: that they are complete, and
// that what is said of them has been made.
type Life struct {
	Completions []Completion   `cbor:"1,keyasint,omitempty"`
	Made        []MadeManifest `cbor:"2,keyasint,omitempty"`
}

// Completion says that a study is complete as it stands. It does nothing when
// the study has changed since it was looked at, so that it can be proposed
// twice; who proposed it reads the StudyLife afterwards.
type Completion struct {
	StudyInstanceUID string `cbor:"1,keyasint"`
	// Revision is the StudyLife's that the decision was made on.
	Revision int64 `cbor:"2,keyasint"`
	// Version is that of what the study consists of: the one that stands when
	// nothing is different, else a higher one.
	Version int64 `cbor:"3,keyasint"`
	// Content is the digest of what it consists of and of whose it is; the zero
	// Digest for nothing any more.
	Content   storage.Digest `cbor:"4,keyasint"`
	Instances int64          `cbor:"5,keyasint,omitempty"`
	// Cause is how it is known: a word such as "quiet". By is who said so.
	Cause string `cbor:"6,keyasint,omitempty"`
	By    string `cbor:"7,keyasint,omitempty"`
	// Manifest is to be made of the version; nil for one of which there is none.
	Manifest *Manifest `cbor:"8,keyasint,omitempty"`
	// Lack is why there is none: a word.
	Lack string `cbor:"9,keyasint,omitempty"`
	// Found is the latest manifest that is stored, when the index was made anew
	// and knows nothing of what became of it: the shared record may have it. Its
	// Number is the zero one when it does not say what stands.
	Found *Manifest `cbor:"10,keyasint,omitempty"`
}

// Manifest is the document that says what a version of a study consists of.
type Manifest struct {
	SOPInstanceUID string `cbor:"1,keyasint" json:"sopInstanceUID"`
	Version        int64  `cbor:"2,keyasint" json:"version"`
	// Number is whose it is: a national identity.
	Number PatientKey `cbor:"3,keyasint" json:"number"`
	// Created is when the version was decided on, in nanoseconds of Unix time.
	// It is set by applying.
	Created int64 `cbor:"4,keyasint,omitempty" json:"created"`
}

// MadeManifest says that the manifest which stands is stored.
type MadeManifest struct {
	StudyInstanceUID string `cbor:"1,keyasint"`
	SOPInstanceUID   string `cbor:"2,keyasint"`
}

// StudyLife is where a study is in its life. It outlives the study.
type StudyLife struct {
	StudyInstanceUID string
	// Open is true while the study has changed since it was complete. Since is
	// when it changed last, in nanoseconds of Unix time; 0 for a change that
	// nothing more is waited for after.
	Open  bool
	Since int64
	// Revision counts the changes.
	Revision int64
	// Owed is true while the manifest of the version is not stored.
	Owed bool
	// Due is when the shared record is to be seen to, in nanoseconds of Unix
	// time; NeverDue when there is nothing to do, RefusedDue when a person must.
	Due int64
	LifeRecord
}

// LifeRecord is what was decided about a study last.
type LifeRecord struct {
	// Version counts what the study was complete as; 0 for never.
	Version   int64          `cbor:"1,keyasint,omitempty"`
	Completed int64          `cbor:"2,keyasint,omitempty"` // nanoseconds of Unix time
	Content   storage.Digest `cbor:"3,keyasint"`
	Instances int64          `cbor:"4,keyasint,omitempty"`
	Cause     string         `cbor:"5,keyasint,omitempty"`
	By        string         `cbor:"6,keyasint,omitempty"`
	// Manifest is of Version; nil when there is none.
	Manifest *Manifest `cbor:"7,keyasint,omitempty"`
	// Publication is what the shared record has of it.
	Publication Publication `cbor:"8,keyasint,omitzero"`
	// Lack is why Version has no manifest, as a word; "" when it has one, and
	// when nothing is known.
	Lack string `cbor:"9,keyasint,omitempty"`
}

// Stands is the SOPInstanceUID of the manifest that says what the study consists
// of, once it is stored; "" for none.
func (l *StudyLife) Stands() string {
	if l == nil || l.Owed || l.Manifest == nil {
		return ""
	}
	return l.Manifest.SOPInstanceUID
}

func (l *Life) validate() error {
	if l == nil {
		return nil
	}
	if max(len(l.Completions), len(l.Made)) > BatchRows {
		return fmt.Errorf("%w: a batch of more than %d entries", storage.ErrInvalid, BatchRows)
	}
	for i := range l.Completions {
		if err := l.Completions[i].validate(); err != nil {
			return err
		}
	}
	for _, m := range l.Made {
		if !storage.ValidUID(m.StudyInstanceUID) || !storage.ValidUID(m.SOPInstanceUID) {
			return fmt.Errorf("%w: a manifest that was made", storage.ErrInvalid)
		}
	}
	return nil
}

func (c *Completion) validate() error {
	if !storage.ValidUID(c.StudyInstanceUID) || c.Revision < 1 || c.Version < 0 || c.Version > 1<<31 || c.Instances < 0 ||
		len(c.Cause) > nameBytes || len(c.By) > nameBytes || len(c.Lack) > nameBytes || c.Lack != "" && c.Manifest != nil {
		return fmt.Errorf("%w: the completion of a study", storage.ErrInvalid)
	}
	if err := c.Found.validateFound(); err != nil || c.Manifest == nil {
		return err
	}
	return c.Manifest.validate(c.Version)
}

// validateFound checks one of which little more than the name is known.
func (m *Manifest) validateFound() error {
	if m != nil && (!storage.ValidUID(m.SOPInstanceUID) || m.Version < 1) {
		return fmt.Errorf("%w: the manifest that was found of a study", storage.ErrInvalid)
	}
	return nil
}

func (m *Manifest) validate(version int64) error {
	n := m.Number
	if !storage.ValidUID(m.SOPInstanceUID) || m.Version != version || m.Created < 0 || !validName(n.PatientID) || !validName(n.Issuer) {
		return fmt.Errorf("%w: the manifest of a study", storage.ErrInvalid)
	}
	return nil
}

// isManifest tells whether an instance is a manifest of the gateway's own. It
// says what the study consists of and is no part of that; it names the patient
// by a national identity, and is of the study's patient all the same.
func (i *Instance) isManifest() bool { return i.Origin.Transport == storage.TransportManifest }
