package manifest

import (
	"encoding/json"
	"fmt"
	"strconv"
)

type (
	imagingStudy struct {
		ResourceType string        `json:"resourceType"`
		Contained    []any         `json:"contained,omitempty"`
		Identifier   []identifier  `json:"identifier"`
		Status       string        `json:"status"`
		Modality     []coding      `json:"modality,omitempty"`
		Subject      *reference    `json:"subject"`
		Started      string        `json:"started,omitempty"`
		BasedOn      []reference   `json:"basedOn,omitempty"`
		Endpoint     []reference   `json:"endpoint,omitempty"`
		Series       int           `json:"numberOfSeries"`
		Instances    int           `json:"numberOfInstances"`
		Description  string        `json:"description,omitempty"`
		SeriesList   []imagingPart `json:"series"`
	}
	imagingPart struct {
		UID         string            `json:"uid"`
		Number      *int              `json:"number,omitempty"`
		Modality    coding            `json:"modality"`
		Description string            `json:"description,omitempty"`
		Instances   int               `json:"numberOfInstances"`
		BodySite    *coding           `json:"bodySite,omitempty"`
		Instance    []imagingInstance `json:"instance"`
	}
	imagingInstance struct {
		UID      string `json:"uid"`
		SOPClass coding `json:"sopClass"`
		Number   *int   `json:"number,omitempty"`
	}
	endpoint struct {
		ResourceType   string    `json:"resourceType"`
		ID             string    `json:"id"`
		Status         string    `json:"status"`
		ConnectionType coding    `json:"connectionType"`
		PayloadType    []concept `json:"payloadType"`
		Address        string    `json:"address"`
	}
)

// ImagingStudy is the manifest as a FHIR R4 resource in JSON. A manifest that
// is not valid is storage.ErrInvalid.
func (m *Manifest) ImagingStudy() ([]byte, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	s := &m.Study
	r := imagingStudy{
		ResourceType: "ImagingStudy",
		Contained: []any{endpoint{
			ResourceType: "Endpoint", ID: "wado", Status: "active", Address: m.Retrieve,
			ConnectionType: coding{System: "http://terminology.hl7.org/CodeSystem/endpoint-connection-type", Code: "dicom-wado-rs"},
			PayloadType:    []concept{{Text: "DICOM WADO-RS"}},
		}},
		Identifier: append([]identifier{{System: "urn:dicom:uid", Value: urn(s.StudyInstanceUID)}}, m.orders()...),
		Status:     "available",
		Subject:    m.subject(),
		Started:    m.moment(s.StudyDate, s.StudyTime),
		Endpoint:   []reference{{Reference: "#wado"}},
		Series:     len(s.Series), Instances: s.Instances(), Description: s.Description,
	}
	for _, code := range s.modalities() {
		r.Modality = append(r.Modality, coding{System: systemDCM, Code: code})
	}
	for i := range s.Series {
		r.SeriesList = append(r.SeriesList, imagingSeries(&s.Series[i]))
	}
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode ImagingStudy: %w", err)
	}
	return b, nil
}

func imagingSeries(s *Series) imagingPart {
	p := imagingPart{
		UID: s.SeriesInstanceUID, Number: number(s.Number), Modality: coding{System: systemDCM, Code: s.Modality},
		Description: s.Description, Instances: len(s.Instances),
	}
	if p.Modality.Code == "" {
		p.Modality.Code = "OT"
	}
	if s.Region != nil {
		p.BodySite = &coding{System: systemSNOMED, Code: s.Region.Code, Display: s.Region.Meaning}
	}
	for _, in := range s.Instances {
		p.Instance = append(p.Instance, imagingInstance{
			UID: in.SOPInstanceUID, SOPClass: coding{System: systemURI, Code: urn(in.SOPClassUID)}, Number: number(in.Number),
		})
	}
	return p
}

const systemSNOMED = "http://snomed.info/sct"

// number is a DICOM number as FHIR's unsignedInt, or nil when it is none.
func number(is string) *int {
	n, err := strconv.Atoi(is)
	if err != nil || n < 0 || n > 1<<31-1 {
		return nil
	}
	return &n
}

// orders are the identifiers of what the study was made for.
func (m *Manifest) orders() (all []identifier) {
	s := &m.Study
	if s.AccessionNumber != "" {
		all = append(all, identifier{
			Type: &concept{Coding: []coding{{System: system203, Code: "ACSN"}}}, System: system(s.AccessionIssuer), Value: s.AccessionNumber,
		})
	}
	if s.PlacerOrder != "" {
		all = append(all, identifier{
			Type: &concept{Coding: []coding{{System: system203, Code: "PLAC"}}}, System: system(s.PlacerIssuer), Value: s.PlacerOrder,
		})
	}
	return all
}
