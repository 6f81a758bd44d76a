package manifest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

// Bounds of a manifest that is read: what is beyond them is
// storage.ErrTooLarge.
const (
	// ListingBytes is the most that its text may take, and listingKept that it
	// may take in memory.
	ListingBytes = 32 << 20
	listingKept  = 128 << 20
	// ListingInstances is the most instances that it may list, and
	// listingElements the most of anything.
	ListingInstances = 100_000
	listingElements  = 16 * ListingInstances
)

// Listing is what a manifest lists, whoever made it.
type Listing struct {
	// SOPInstanceUID is the document's own, and Version its InstanceNumber; ""
	// and 0 for a FHIR manifest.
	SOPInstanceUID string
	Version        int64
	// Matricule is the PatientID, as it stands there.
	Matricule        string
	StudyInstanceUID string
	Series           []ListedSeries
}

// ListedSeries is a series of a Listing.
type ListedSeries struct {
	SeriesInstanceUID string
	// RetrieveURL is where it can be had by its maker's word, or "".
	RetrieveURL string
	SOPs        []string // SOPInstanceUIDs
}

// ReadKOS reads a Key Object Selection Document in its PS3.10 form: the
// national shape, MADO, and others that list one study as evidence. What is
// none is storage.ErrInvalid.
func ReadKOS(file []byte) (*Listing, error) {
	if len(file) > ListingBytes {
		return nil, fmt.Errorf("%w: a manifest of %d bytes", storage.ErrTooLarge, len(file))
	}
	r := bufio.NewReader(bytes.NewReader(file))
	head, err := dicom.ReadPart10(r)
	if err != nil {
		return nil, err
	}
	scanner := dicom.NewScanner(head.Meta.TransferSyntaxUID, dicom.ScanLimits{MaxKept: listingKept, MaxInflated: ListingBytes, MaxElements: listingElements})
	defer scanner.Abort()
	if _, err := io.Copy(scanner, r); err != nil {
		return nil, err
	}
	found, err := scanner.Close()
	if err != nil {
		return nil, err
	}
	if found.SOPClassUID != SOPClassUID || found.Overflow {
		return nil, fmt.Errorf("%w: no Key Object Selection Document", storage.ErrInvalid)
	}
	return listEvidence(found)
}

// listEvidence reads CurrentRequestedProcedureEvidenceSequence.
func listEvidence(found *dicom.Result) (*Listing, error) {
	ds := found.DataSet
	l := &Listing{SOPInstanceUID: found.SOPInstanceUID, Matricule: ds.String(0x00100020)}
	l.Version, _ = strconv.ParseInt(strings.TrimSpace(ds.String(0x00200013)), 10, 64) // 0 for none
	evidence, _ := ds.Get(0x0040A375)
	if len(evidence.Items) != 1 {
		return nil, fmt.Errorf("%w: the manifest lists %d studies", storage.ErrInvalid, len(evidence.Items))
	}
	l.StudyInstanceUID = evidence.Items[0].String(0x0020000D)
	series, _ := evidence.Items[0].Get(0x00081115)
	for _, item := range series.Items {
		s := ListedSeries{SeriesInstanceUID: item.String(0x0020000E), RetrieveURL: item.String(0x00081190)}
		instances, _ := item.Get(0x00081199)
		for _, in := range instances.Items {
			s.SOPs = append(s.SOPs, in.String(0x00081155))
		}
		l.Series = append(l.Series, s)
	}
	return l, l.validate()
}

// ReadImagingStudy reads a FHIR manifest: an ImagingStudy in JSON, or a Bundle
// with one. What is none is storage.ErrInvalid.
func ReadImagingStudy(text []byte) (*Listing, error) {
	if len(text) > ListingBytes {
		return nil, fmt.Errorf("%w: a manifest of %d bytes", storage.ErrTooLarge, len(text))
	}
	// Of two bytes a decoder makes a value of fifty.
	if elements(text) > listingElements {
		return nil, fmt.Errorf("%w: a manifest of more than %d elements", storage.ErrTooLarge, listingElements)
	}
	r, err := findStudy(text)
	if err != nil {
		return nil, err
	}
	l := &Listing{Matricule: r.Subject.Identifier.Value}
	for _, id := range r.Identifier {
		if id.System == "urn:dicom:uid" {
			l.StudyInstanceUID = strings.TrimPrefix(id.Value, "urn:oid:")
		}
	}
	root := r.root()
	for _, s := range r.Series {
		listed := ListedSeries{SeriesInstanceUID: s.UID}
		if root != "" {
			listed.RetrieveURL = root + "/studies/" + l.StudyInstanceUID + "/series/" + s.UID
		}
		for _, in := range s.Instance {
			listed.SOPs = append(listed.SOPs, in.UID)
		}
		l.Series = append(l.Series, listed)
	}
	return l, l.validate()
}

// readStudy is what is read of an ImagingStudy.
type readStudy struct {
	ResourceType string `json:"resourceType"`
	Contained    []struct {
		ResourceType string `json:"resourceType"`
		Address      string `json:"address"`
	} `json:"contained"`
	Identifier []readIdentifier `json:"identifier"`
	Subject    struct {
		Identifier readIdentifier `json:"identifier"`
	} `json:"subject"`
	Series []struct {
		UID      string `json:"uid"`
		Instance []struct {
			UID string `json:"uid"`
		} `json:"instance"`
	} `json:"series"`
	Entry []struct {
		Resource json.RawMessage `json:"resource"`
	} `json:"entry"`
}

type readIdentifier struct {
	System string `json:"system"`
	Value  string `json:"value"`
}

// elements is the most values that can be made of a JSON text.
func elements(text []byte) (n int) {
	quoted := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ',' || c == '[' || c == '{'):
			n++
		}
	}
	return n
}

// root is the address of the endpoint that it brings along, or "".
func (r *readStudy) root() string {
	for _, c := range r.Contained {
		if c.ResourceType == "Endpoint" {
			return strings.TrimRight(c.Address, "/")
		}
	}
	return ""
}

// findStudy is the resource, or the first of a Bundle that is one.
func findStudy(text []byte) (*readStudy, error) {
	var r readStudy
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("%w: no FHIR resource", storage.ErrInvalid)
	}
	if r.ResourceType == "ImagingStudy" {
		return &r, nil
	}
	for _, e := range r.Entry {
		var in readStudy
		if json.Unmarshal(e.Resource, &in) == nil && in.ResourceType == "ImagingStudy" {
			return &in, nil
		}
	}
	return nil, fmt.Errorf("%w: no ImagingStudy", storage.ErrInvalid)
}

// validate holds all names to be UIDs, and their number to its bound.
func (l *Listing) validate() error {
	n := 0
	if !storage.ValidUID(l.StudyInstanceUID) {
		return fmt.Errorf("%w: the manifest names no study", storage.ErrInvalid)
	}
	for _, s := range l.Series {
		if n += len(s.SOPs); n > ListingInstances {
			return fmt.Errorf("%w: a manifest of more than %d instances", storage.ErrTooLarge, ListingInstances)
		}
		for _, uid := range append([]string{s.SeriesInstanceUID}, s.SOPs...) {
			if !storage.ValidUID(uid) {
				return fmt.Errorf("%w: the manifest names what is not a UID", storage.ErrInvalid)
			}
		}
	}
	if n == 0 {
		return fmt.Errorf("%w: the manifest lists no instance", storage.ErrInvalid)
	}
	return nil
}
