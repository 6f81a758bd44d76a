package manifest

import (
	"fmt"

	"github.com/esante-alsace/cigogne/storage"
)

// The parts of FHIR R4 that are written, with the names that it has for them.
// Order and presence of fields are fixed, so equal manifests are equal JSON.
type (
	coding struct {
		System  string `json:"system,omitempty"`
		Code    string `json:"code"`
		Display string `json:"display,omitempty"`
	}
	concept struct {
		Coding []coding `json:"coding,omitempty"`
		Text   string   `json:"text,omitempty"`
	}
	identifier struct {
		Use      string     `json:"use,omitempty"`
		Type     *concept   `json:"type,omitempty"`
		System   string     `json:"system,omitempty"`
		Value    string     `json:"value"`
		Assigner *reference `json:"assigner,omitempty"`
	}
	reference struct {
		Reference  string      `json:"reference,omitempty"`
		Type       string      `json:"type,omitempty"`
		Identifier *identifier `json:"identifier,omitempty"`
		Display    string      `json:"display,omitempty"`
	}
	period struct {
		Start string `json:"start,omitempty"`
		End   string `json:"end,omitempty"`
	}
	extension struct {
		URL        string      `json:"url"`
		Concept    *concept    `json:"valueCodeableConcept,omitempty"`
		Identifier *identifier `json:"valueIdentifier,omitempty"`
	}
)

// urn is an OID as a URI (RFC 3061).
func urn(oid string) string { return "urn:oid:" + oid }

const (
	systemURI = "urn:ietf:rfc:3986"
	systemDCM = "http://dicom.nema.org/resources/ontology/DCM"
	system203 = "http://terminology.hl7.org/CodeSystem/v2-0203"
)

// system is the issuer as a URI, "" when it has no universal name.
func system(i storage.Issuer) string {
	if i.UniversalIDType == "ISO" {
		return urn(i.UniversalID)
	}
	return ""
}

// urnOf is a UUID that is derived from words, as a URN: the same words, the
// same URN.
func urnOf(words ...string) string {
	u := uuid(words)
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// subject names the patient by the qualified identity, and holds no name.
func (m *Manifest) subject() *reference {
	return &reference{Type: "Patient", Identifier: &identifier{
		Use: "official", Type: &concept{Coding: []coding{{System: system203, Code: "NH"}}},
		System: system(m.Patient.Issuer), Value: m.Patient.Matricule,
	}}
}

// organization names who made the study.
func (m *Manifest) organization() *reference {
	return &reference{
		Type: "Organization", Display: m.Structure.Name,
		Identifier: &identifier{Type: &concept{Coding: []coding{{System: system203, Code: "XX"}}}, System: urn(m.Structure.OID), Value: m.Structure.ID},
	}
}

// moment is a DICOM date and time of day as FHIR's dateTime, in the manifest's
// zone; "" when there is no date.
func (m *Manifest) moment(date, timeOfDay string) string {
	if len(date) != len("20060102") {
		return ""
	}
	day := date[:4] + "-" + date[4:6] + "-" + date[6:]
	if len(timeOfDay) < len("150405") {
		return day
	}
	return day + "T" + timeOfDay[:2] + ":" + timeOfDay[2:4] + ":" + timeOfDay[4:6] + m.Created.Format("-07:00")
}
