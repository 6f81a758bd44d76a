package manifest

import (
	"crypto/sha1" //nolint:gosec // the profile asks for it
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Code is a code of a scheme, whose OID it names.
type Code struct {
	Code   string `json:"code"`
	Scheme string `json:"scheme"`
	// Meaning is what a person reads.
	Meaning string `json:"meaning,omitempty"`
}

func (c Code) coding() coding { return coding{System: urn(c.Scheme), Code: c.Code, Display: c.Meaning} }

func (c Code) concept() *concept { return &concept{Coding: []coding{c.coding()}} }

// Codes are those of a document entry that profiles and regions give
// differently. DefaultCodes are the national ones.
type Codes struct {
	Class, Type, Format                 Code
	FacilityType, PracticeSetting       Code
	ContentType                         Code // of the submission
	ModalityScheme, RegionScheme        string
	Confidentiality                     []Code
	Language                            string
	SourceID                            string // OID of who submits
	AccessionType, StudyType, OrderType string
}

// DefaultCodes are those of the national test data.
func DefaultCodes() Codes {
	return Codes{
		Class:           Code{"31", "1.2.250.1.213.1.1.4.1", "Imagerie médicale"},
		Type:            Code{"IMG-KOS", "1.2.250.1.213.1.1.4.12", "Référence d'objets d'un examen d'imagerie"},
		Format:          Code{SOPClassUID, "1.2.840.10008.2.6.1", "Key Object Selection Document"},
		FacilityType:    Code{"SA01", "1.2.250.1.71.4.2.4", "Établissement public de santé"},
		PracticeSetting: Code{"AMBULATOIRE", "1.2.250.1.213.1.1.4.9", "Ambulatoire"},
		ContentType:     Code{"04", "1.2.250.1.213.2.2", "Hospitalisation de jour"},
		ModalityScheme:  "1.2.840.10008.2.16.4",
		RegionScheme:    "2.16.840.1.113883.6.96",
		Confidentiality: []Code{{"N", "2.16.840.1.113883.5.25", "Normal"}},
		Language:        "fr-FR",
		AccessionType:   "urn:ihe:iti:xds:2013:accession",
		StudyType:       "urn:ihe:iti:xds:2016:studyInstanceUID",
		OrderType:       "urn:ihe:iti:xds:2013:order",
	}
}

type (
	documentReference struct {
		ResourceType     string       `json:"resourceType"`
		MasterIdentifier identifier   `json:"masterIdentifier"`
		Identifier       []identifier `json:"identifier"`
		Status           string       `json:"status"`
		Type             *concept     `json:"type"`
		Category         []*concept   `json:"category"`
		Subject          *reference   `json:"subject"`
		Date             string       `json:"date"`
		Author           []*reference `json:"author"`
		Custodian        *reference   `json:"custodian"`
		RelatesTo        []relation   `json:"relatesTo,omitempty"`
		Description      string       `json:"description,omitempty"`
		SecurityLabel    []*concept   `json:"securityLabel"`
		Content          []content    `json:"content"`
		Context          context      `json:"context"`
	}
	relation struct {
		Code   string    `json:"code"`
		Target reference `json:"target"`
	}
	content struct {
		Attachment attachment `json:"attachment"`
		Format     coding     `json:"format"`
	}
	attachment struct {
		ContentType string `json:"contentType"`
		Language    string `json:"language"`
		URL         string `json:"url"`
		Size        int    `json:"size"`
		Hash        []byte `json:"hash"`
		Title       string `json:"title"`
		Creation    string `json:"creation"`
	}
	context struct {
		Event             []*concept   `json:"event,omitempty"`
		Period            period       `json:"period"`
		FacilityType      *concept     `json:"facilityType"`
		PracticeSetting   *concept     `json:"practiceSetting"`
		SourcePatientInfo *reference   `json:"sourcePatientInfo"`
		Related           []*reference `json:"related"`
	}
	list struct {
		ResourceType string       `json:"resourceType"`
		Extension    []extension  `json:"extension"`
		Identifier   []identifier `json:"identifier"`
		Status       string       `json:"status"`
		Mode         string       `json:"mode"`
		Title        string       `json:"title"`
		Code         *concept     `json:"code"`
		Subject      *reference   `json:"subject"`
		Date         string       `json:"date"`
		Source       *reference   `json:"source"`
		Entry        []listEntry  `json:"entry"`
	}
	listEntry struct {
		Item reference `json:"item"`
	}
	binary struct {
		ResourceType string `json:"resourceType"`
		ContentType  string `json:"contentType"`
		Data         []byte `json:"data"`
	}
	parameters struct {
		ResourceType string      `json:"resourceType"`
		Parameter    []parameter `json:"parameter"`
	}
	parameter struct {
		Name string              `json:"name"`
		Part []map[string]string `json:"part"`
	}
	bundle struct {
		ResourceType string        `json:"resourceType"`
		Type         string        `json:"type"`
		Timestamp    string        `json:"timestamp"`
		Entry        []bundleEntry `json:"entry"`
	}
	bundleEntry struct {
		FullURL  string  `json:"fullUrl"`
		Resource any     `json:"resource"`
		Request  request `json:"request"`
	}
	request struct {
		Method string `json:"method"`
		URL    string `json:"url"`
		// IfNoneExist makes a POST that comes again one (FHIR R4 §3.1.0.8.1).
		IfNoneExist string `json:"ifNoneExist,omitempty"`
	}
)

// Submission is the manifest as it is published: the transaction of Provide
// Document Bundle (IHE ITI-65), with the Key Object Selection, its document
// entry and the submission set, in JSON. kos is the file that is published.
// What a submission holds is derived from the manifest, so that it can be sent
// again.
func (m *Manifest) Submission(kos []byte, c Codes) ([]byte, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	entry, data := urnOf("document", m.SOPInstanceUID()), urnOf("binary", m.SOPInstanceUID())
	set := urnOf("submission", m.SOPInstanceUID())
	b, err := json.Marshal(bundle{
		ResourceType: "Bundle", Type: "transaction", Timestamp: m.Created.Format(time.RFC3339),
		Entry: []bundleEntry{
			{set, m.submissionSet(set, entry, c), request{Method: "POST", URL: "List", IfNoneExist: "identifier=" + set}},
			{entry, m.entry(entry, data, kos, c), request{Method: "POST", URL: "DocumentReference", IfNoneExist: "identifier=" + entry}},
			{data, binary{"Binary", "application/dicom", kos}, request{Method: "POST", URL: "Binary"}},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("encode the submission: %w", err)
	}
	return b, nil
}

// Withdrawal takes a manifest that was published out of use: a transaction that
// sets the status of its document entry to entered-in-error. It names nobody,
// and can be sent again. The profiles leave the form open.
func Withdrawal(sopInstanceUID string, at time.Time) ([]byte, error) {
	entry := urnOf("document", sopInstanceUID)
	part := func(name, kind, value string) map[string]string { return map[string]string{"name": name, kind: value} }
	b, err := json.Marshal(bundle{
		ResourceType: "Bundle", Type: "transaction", Timestamp: at.Format(time.RFC3339),
		Entry: []bundleEntry{{
			urnOf("withdrawal", sopInstanceUID), // FHIRPath Patch (FHIR R4 §3.1.0.7.3)
			parameters{"Parameters", []parameter{{"operation", []map[string]string{
				part("type", "valueCode", "replace"), part("path", "valueString", "DocumentReference.status"), part("value", "valueCode", "entered-in-error"),
			}}}},
			request{Method: "PATCH", URL: "DocumentReference?identifier=" + entry},
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("encode the withdrawal: %w", err)
	}
	return b, nil
}

// entry is the document entry of the manifest.
func (m *Manifest) entry(id, data string, kos []byte, c Codes) *documentReference {
	sum := sha1.Sum(kos) //nolint:gosec // see above
	s := &m.Study
	d := &documentReference{
		ResourceType:     "DocumentReference",
		MasterIdentifier: identifier{Use: "usual", System: systemURI, Value: urn(m.SOPInstanceUID())},
		Identifier:       []identifier{{Use: "official", System: systemURI, Value: id}},
		Status:           "current",
		Type:             c.Type.concept(),
		Category:         []*concept{c.Class.concept()},
		Subject:          m.subject(),
		Date:             m.Created.Format(time.RFC3339),
		Author:           []*reference{m.organization()},
		Custodian:        m.organization(),
		Description:      s.Description,
		Content: []content{{
			Attachment: attachment{
				ContentType: "application/dicom", Language: c.Language, URL: data, Size: len(kos), Hash: sum[:],
				Title: c.Type.Meaning, Creation: m.Created.Format(time.RFC3339),
			},
			Format: c.Format.coding(),
		}},
		Context: m.context(c),
	}
	for _, label := range c.Confidentiality {
		d.SecurityLabel = append(d.SecurityLabel, label.concept())
	}
	if m.Replaces != "" {
		d.RelatesTo = []relation{{"replaces", reference{
			Type: "DocumentReference", Identifier: &identifier{System: systemURI, Value: urn(m.Replaces)},
		}}}
	}
	return d
}

// context says what was done, when, and what it is known by.
func (m *Manifest) context(c Codes) context {
	s := &m.Study
	at := m.moment(s.StudyDate, s.StudyTime)
	if at == "" {
		at = m.Created.Format(time.RFC3339)
	}
	x := context{
		Period: period{Start: at, End: at}, FacilityType: c.FacilityType.concept(), PracticeSetting: c.PracticeSetting.concept(),
		SourcePatientInfo: m.subject(),
	}
	for _, modality := range s.modalities() {
		x.Event = append(x.Event, &concept{Coding: []coding{{System: urn(c.ModalityScheme), Code: modality}}})
	}
	for _, region := range s.regions() {
		x.Event = append(x.Event, Code{region.Code, c.RegionScheme, region.Meaning}.concept())
	}
	related := func(kind, system, value string) {
		if value != "" {
			x.Related = append(x.Related, &reference{Identifier: &identifier{Type: &concept{Text: kind}, System: system, Value: value}})
		}
	}
	related(c.AccessionType, system(s.AccessionIssuer), s.AccessionNumber)
	related(c.StudyType, "urn:dicom:uid", urn(s.StudyInstanceUID))
	related(c.OrderType, system(s.PlacerIssuer), s.PlacerOrder)
	return x
}

// regions are those of the series, each once, in their order.
func (s *Study) regions() (all []Code) {
	for _, e := range s.Series {
		if e.Region != nil && !slices.Contains(all, *e.Region) {
			all = append(all, *e.Region)
		}
	}
	return all
}

const mhd = "https://profiles.ihe.net/ITI/MHD/"

// submissionSet says who submits what.
func (m *Manifest) submissionSet(id, entry string, c Codes) *list {
	source := c.SourceID
	if source == "" {
		source = m.Structure.OID
	}
	return &list{
		ResourceType: "List",
		Extension: []extension{
			{URL: mhd + "StructureDefinition/ihe-designationType", Concept: c.ContentType.concept()},
			{URL: mhd + "StructureDefinition/ihe-sourceId", Identifier: &identifier{Value: urn(source)}},
		},
		Identifier: []identifier{
			{Use: "official", System: systemURI, Value: id},
			{Use: "usual", System: systemURI, Value: urn(uidOf("submission", m.SOPInstanceUID()))},
		},
		Status: "current", Mode: "working", Title: c.Type.Meaning,
		Code:    &concept{Coding: []coding{{System: mhd + "CodeSystem/MHDlistTypes", Code: "submissionset"}}},
		Subject: m.subject(), Date: m.Created.Format(time.RFC3339), Source: m.organization(),
		Entry: []listEntry{{reference{Reference: entry}}},
	}
}
