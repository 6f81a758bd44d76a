// Package ins is the French national health identity (identité nationale de
// santé): the matricule with its key, the authorities that assign it, the
// traits that belong to it and the status of an identity.
package ins

import (
	"fmt"
	"strings"

	"github.com/esante-alsace/cigogne/storage"
)

// The OIDs under which matricules are assigned.
const (
	NIR  = "1.2.250.1.213.1.4.8"  // of those registered at birth or since
	NIA  = "1.2.250.1.213.1.4.9"  // of those who wait for their NIR
	Test = "1.2.250.1.213.1.4.10" // of nobody, for tests
	Demo = "1.2.250.1.213.1.4.11" // of nobody, for demonstrations
)

// Realm is whose identities an instance of the gateway deals in: it refuses
// those of the other.
type Realm int

// The zero Realm is Production.
const (
	Production Realm = iota // NIR and NIA
	Trial                   // Test and Demo
)

// Accepts tells whether the OID is one of the realm's.
func (r Realm) Accepts(oid string) bool {
	switch oid {
	case NIR, NIA:
		return r == Production
	case Test, Demo:
		return r == Trial
	}
	return false
}

// OIDs are those of the realm.
func (r Realm) OIDs() []string {
	if r == Trial {
		return []string{Test, Demo}
	}
	return []string{NIR, NIA}
}

// Names under which the authorities are written as IssuerOfPatientID. Test
// matricules use them too, so a name does not tell the realm.
const (
	nameNIR = "ASIP-SANTE-INS-NIR"
	nameNIA = "ASIP-SANTE-INS-NIA"
)

// Known returns the OIDs that an issuer means, which may be an OID or a name;
// none when it is no authority of the INS.
func Known(issuer string) []string {
	switch issuer {
	case NIR, NIA, Test, Demo:
		return []string{issuer}
	case nameNIR:
		return []string{NIR, Test, Demo}
	case nameNIA:
		return []string{NIA, Test, Demo}
	}
	return nil
}

// Number is a matricule and the OID under which it was assigned.
type Number struct {
	Matricule string // 13 characters and a key of 2 digits
	OID       string
}

// Issuer is the authority as DICOM writes it.
func (n Number) Issuer() storage.Issuer {
	name := nameNIR
	if n.OID == NIA {
		name = nameNIA
	}
	return storage.Issuer{Name: name, UniversalID: n.OID, UniversalIDType: "ISO"}
}

const (
	bodyLength      = 13
	matriculeLength = bodyLength + 2
)

// Parse returns the number of a matricule, in which spaces may stand, and an
// OID of the realm. Others are storage.ErrInvalid; no error repeats the
// matricule.
func Parse(matricule, oid string, realm Realm) (Number, error) {
	if !realm.Accepts(oid) {
		if (realm ^ 1).Accepts(oid) {
			return Number{}, fmt.Errorf("%w: the INS is not of this realm: its OID is %s", storage.ErrInvalid, oid)
		}
		return Number{}, fmt.Errorf("%w: %.64q is no OID of the INS", storage.ErrInvalid, oid)
	}
	if len(matricule) > 2*matriculeLength {
		return Number{}, fmt.Errorf("%w: a matricule of %d characters", storage.ErrInvalid, len(matricule))
	}
	m := strings.ToUpper(strings.ReplaceAll(matricule, " ", ""))
	if err := Check(m); err != nil {
		return Number{}, err
	}
	return Number{Matricule: m, OID: oid}, nil
}

// Check returns nil for 15 characters that are a matricule with the right key,
// or an error that wraps storage.ErrInvalid.
func Check(m string) error {
	if len(m) != matriculeLength {
		return fmt.Errorf("%w: a matricule has %d characters, not %d", storage.ErrInvalid, matriculeLength, len(m))
	}
	key, err := Key(m[:bodyLength])
	if err != nil {
		return err
	}
	if m[bodyLength:] != fmt.Sprintf("%02d", key) {
		return fmt.Errorf("%w: the key of the matricule is wrong", storage.ErrInvalid)
	}
	return nil
}

// Key is the key of a matricule's first 13 characters: 97 less their remainder
// by 97, where the Corsican departments 2A and 2B count as 19 and 18.
func Key(body string) (int, error) {
	if len(body) != bodyLength {
		return 0, fmt.Errorf("%w: a matricule without its key has %d characters, not %d", storage.ErrInvalid, bodyLength, len(body))
	}
	digits := body
	switch body[5:7] {
	case "2A":
		digits = body[:5] + "19" + body[7:]
	case "2B":
		digits = body[:5] + "18" + body[7:]
	}
	n := 0
	for i := range len(digits) {
		c := digits[i]
		if c < '0' || c > '9' || i == 0 && c == '0' {
			return 0, fmt.Errorf("%w: character %d of the matricule", storage.ErrInvalid, i+1)
		}
		n = (n*10 + int(c-'0')) % 97
	}
	return 97 - n, nil
}

// Status is how far an identity is established.
type Status string

// The statuses of the national identity reference (HL7 v2 PID-32).
const (
	Qualified   Status = "VALI" // checked against a document and the national service
	Provisional Status = "PROV"
	Empty       Status = "VIDE"
	Doubtful    Status = "DOUB" //nolint:misspell // so it is spelt
)

// Valid tells whether it is one of the four.
func (s Status) Valid() bool {
	switch s {
	case Qualified, Provisional, Empty, Doubtful:
		return true
	}
	return false
}
