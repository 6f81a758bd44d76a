package index

import (
	"fmt"

	"github.com/esante-alsace/cigogne/storage"
)

// Identities are what is decided about whose identifiers are one person's.
type Identities struct {
	Changes []IdentityChange `cbor:"1,keyasint,omitempty"`
	// Kept names changes that lie in an archive.
	Kept []string `cbor:"2,keyasint,omitempty"`
}

// IdentityKind is what a change does.
type IdentityKind int

// The kinds of changes.
const (
	// IdentityLinked links Local with National, in place of what Local was
	// linked with.
	IdentityLinked IdentityKind = iota + 1
	// IdentityUndone ends the link of Local.
	IdentityUndone
	// IdentityQueued links nothing: a person must decide.
	IdentityQueued
	// IdentityDismissed settles a queued one without a link.
	IdentityDismissed
	// IdentityOpposed says that Local, which may be a national number, does not
	// want to be in the shared record. It names no number.
	IdentityOpposed
	// IdentityUnopposed ends that.
	IdentityUnopposed
)

// String is the kind in one word.
func (k IdentityKind) String() string {
	switch k {
	case IdentityLinked:
		return "linked"
	case IdentityUndone:
		return "undone"
	case IdentityQueued:
		return "queued"
	case IdentityDismissed:
		return "dismissed"
	case IdentityOpposed:
		return "opposed"
	case IdentityUnopposed:
		return "unopposed"
	}
	return "unknown"
}

// MarshalText implements encoding.TextMarshaler.
func (k IdentityKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *IdentityKind) UnmarshalText(text []byte) error {
	for *k = IdentityLinked; *k <= IdentityUnopposed; *k++ {
		if k.String() == string(text) {
			return nil
		}
	}
	return fmt.Errorf("%w: an identity's change of the kind %.32q", storage.ErrInvalid, text)
}

// IdentityChange is one decision, who made it and when. It is never changed:
// what follows from it is told by those after it.
type IdentityChange struct {
	// Name is unique: a change that comes again under it does nothing.
	Name string       `cbor:"1,keyasint" json:"name"`
	Kind IdentityKind `cbor:"2,keyasint" json:"kind"`
	// Local is the patient as a site knows them.
	Local PatientKey `cbor:"3,keyasint" json:"local"`
	// Authority and Number are what all sites know them by.
	Authority storage.Issuer `cbor:"4,keyasint" json:"authority"`
	Number    string         `cbor:"5,keyasint,omitempty" json:"number,omitempty"`
	// Status and Traits are as they were asserted.
	Status string `cbor:"6,keyasint,omitempty" json:"status,omitempty"`
	Traits Traits `cbor:"7,keyasint" json:"traits"`
	// By is who decided, At when, in nanoseconds of Unix time, and Why in words
	// that an operator reads.
	By  string `cbor:"8,keyasint" json:"by"`
	At  int64  `cbor:"9,keyasint" json:"at"`
	Why string `cbor:"10,keyasint,omitempty" json:"why,omitempty"`
	// Settles names the queued change that is settled by this one.
	Settles string `cbor:"11,keyasint,omitempty" json:"settles,omitempty"`
	// Before is one more than the Sequence of the last change of Local or of the
	// number that was known when it was decided. When there is a later one,
	// nothing is done: the decision may be another now. 0 is for what was
	// decided before, and is entered again in its order.
	Before int64 `cbor:"12,keyasint,omitempty" json:"-"`
	// Unlinks, of a queued one, ends the link of Local.
	Unlinks bool `cbor:"13,keyasint,omitempty" json:"unlinks,omitempty"`
	// Sequence counts the changes in the order in which they were applied. It
	// is set by applying; an old one keeps its own.
	Sequence int64 `cbor:"14,keyasint,omitempty" json:"sequence"`
}

// Traits are the strict traits of a person, as text.
type Traits struct {
	BirthName  string `cbor:"1,keyasint,omitempty" json:"birthName,omitempty"`
	GivenNames string `cbor:"2,keyasint,omitempty" json:"givenNames,omitempty"`
	BirthDate  string `cbor:"3,keyasint,omitempty" json:"birthDate,omitempty"`
	Sex        string `cbor:"4,keyasint,omitempty" json:"sex,omitempty"`
	BirthPlace string `cbor:"5,keyasint,omitempty" json:"birthPlace,omitempty"`
}

// National is the number as a key.
func (c *IdentityChange) National() PatientKey {
	return PatientKey{Issuer: c.Authority.Key(), PatientID: c.Number}
}

// identityText bounds each text of a change, in bytes.
const identityText = 1024

func (i *Identities) validate() error {
	if i == nil {
		return nil
	}
	if len(i.Changes) > BatchRows || len(i.Kept) > BatchRows {
		return fmt.Errorf("%w: a batch of more than %d entries", storage.ErrInvalid, BatchRows)
	}
	for j := range i.Changes {
		if err := i.Changes[j].validate(); err != nil {
			return err
		}
	}
	for _, name := range i.Kept {
		if !validName(name) {
			return fmt.Errorf("%w: the name of an identity's change", storage.ErrInvalid)
		}
	}
	return nil
}

func (c *IdentityChange) validate() error {
	texts := []string{
		c.Local.Issuer, c.Local.PatientID, c.Authority.Name, c.Authority.UniversalID, c.Authority.UniversalIDType, c.Number,
		c.Status, c.By, c.Why, c.Settles, c.Traits.BirthName, c.Traits.GivenNames, c.Traits.BirthDate, c.Traits.Sex, c.Traits.BirthPlace,
	}
	for _, t := range texts {
		if len(t) > identityText {
			return fmt.Errorf("%w: an identity's change with a text of %d bytes", storage.ErrInvalid, len(t))
		}
	}
	numbered := c.Number != "" && c.Authority.Key() != ""
	if c.Kind == IdentityOpposed || c.Kind == IdentityUnopposed {
		numbered = c.Number == "" && c.Authority.Key() == ""
	}
	switch {
	case !validName(c.Name), c.Kind < IdentityLinked || c.Kind > IdentityUnopposed, c.Before < 0, c.Sequence < 0, c.Sequence > 1<<60, c.By == "",
		c.Local.PatientID == "", assumed(c.Local.Issuer), !numbered:
		return fmt.Errorf("%w: a change of the identity %.64q", storage.ErrInvalid, c.Name)
	}
	return nil
}
