package storage

import (
	"encoding/json"
	"fmt"
	"unique"
)

// Sender is a structure that sends instances. Equal ones are ==, and one takes
// the space of a pointer, as there are few of them for very many instances.
// The zero Sender is of instances for which that was not asked.
type Sender struct{ is unique.Handle[SenderInfo] }

// SenderInfo is what is known of a Sender.
type SenderInfo struct {
	// Name and FINESS, the number in the national register of structures, are
	// empty for a sender that is not in the configuration.
	Name   string `json:"name,omitempty"`
	FINESS string `json:"finess,omitempty"`
	// Issuer is who is taken for the issuer of the PatientID where the Data Set
	// names none, and with IssuerStands whatever it names. It is laid over the
	// Data Set in answers; the stored bytes stay as they came.
	Issuer       Issuer `json:"issuer"`
	IssuerStands bool   `json:"issuerStands,omitempty"`
}

// NewSender returns the Sender of which that is known.
func NewSender(i SenderInfo) Sender { return Sender{unique.Make(i)} }

// Info is what is known of it.
func (s Sender) Info() SenderInfo {
	if s == (Sender{}) {
		return SenderInfo{}
	}
	return s.is.Value()
}

// MarshalJSON implements json.Marshaler.
func (s Sender) MarshalJSON() ([]byte, error) { return json.Marshal(s.Info()) }

// UnmarshalJSON implements json.Unmarshaler.
func (s *Sender) UnmarshalJSON(b []byte) error {
	var i SenderInfo
	if err := json.Unmarshal(b, &i); err != nil {
		return fmt.Errorf("%w: sender: %w", ErrInvalid, err)
	}
	*s = NewSender(i)
	return nil
}

// MarshalBinary implements encoding.BinaryMarshaler: it is the JSON form.
func (s Sender) MarshalBinary() ([]byte, error) { return s.MarshalJSON() }

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (s *Sender) UnmarshalBinary(b []byte) error { return s.UnmarshalJSON(b) }

// Issuer is who assigned a PatientID: the same PatientID of two issuers names
// two patients.
type Issuer struct {
	// Name is the IssuerOfPatientID (0010,0021), a name that its neighbours
	// know it by.
	Name string `json:"name,omitempty"`
	// UniversalID names it everywhere, most often by an OID; its type is that
	// of UniversalEntityIDType (0040,0033): ISO for an OID.
	UniversalID     string `json:"universalID,omitempty"`
	UniversalIDType string `json:"universalIDType,omitempty"`
}

// Key is what tells the issuer from others: UniversalID, or Name where there
// is none, or "" when nothing is known.
func (i Issuer) Key() string {
	if i.UniversalID != "" {
		return i.UniversalID
	}
	return i.Name
}

// AssumedIssuer begins the Name of an issuer that is made up for a sender that
// nobody configured: it keeps that sender's patients apart from all others.
const AssumedIssuer = "unknown:"
