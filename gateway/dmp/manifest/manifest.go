// Package manifest says of a complete study what it consists of and where it
// can be had: as a Key Object Selection Document in the national shape, as a
// FHIR ImagingStudy, and as the document entry that publishes it. It computes:
// nothing is read and nothing is sent here.
package manifest

import (
	"crypto/sha256"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/esante-alsace/cigogne/storage"
)

// Manifest is one version of what is said of a study. The same Manifest gives
// the same bytes in each of its forms.
type Manifest struct {
	// Version counts from 1; each has a SOPInstanceUID of its own.
	Version int
	// Replaces is the SOPInstanceUID of the version that it takes the place of
	// where it is published, or "".
	Replaces string
	// Created is when the version was decided on; it is written in its zone.
	Created   time.Time
	Patient   Patient
	Structure Structure
	Study     Study
	// Retrieve is the root of the DICOMweb service that gives the instances,
	// such as https://images.example/dicom-web, without a slash at its end.
	Retrieve string
	// Location is the UID of the place that Retrieve is at (RetrieveLocationUID,
	// PS3.3 §C.17.2.1); it may be empty.
	Location string
}

// Patient is a qualified national identity.
type Patient struct {
	Matricule string
	Issuer    storage.Issuer // the authority, with its OID as UniversalID
	// Name is as PN has it (PS3.5 §6.2.1), Other names besides.
	Name       string
	BirthDate  string // YYYYMMDD
	Sex        string // M, F or O
	BirthPlace string // its INSEE code
}

// Structure is who made the study.
type Structure struct {
	Name string
	// ID is the national identifier with its prefix: 1 and a FINESS, 3 and a
	// SIRET. OID is of those who assign it.
	ID, OID string
}

// Study is what the manifest lists.
type Study struct {
	StudyInstanceUID string
	StudyDate        string // YYYYMMDD
	StudyTime        string // HHMMSS, with a fraction or not
	StudyID          string
	Description      string
	Referring        string // ReferringPhysicianName
	AccessionNumber  string
	AccessionIssuer  storage.Issuer
	PlacerOrder      string // its number
	PlacerIssuer     storage.Issuer
	Series           []Series
}

// Series is one of a study.
type Series struct {
	SeriesInstanceUID string
	Modality          string
	Number            string // SeriesNumber
	Description       string
	Region            *Code // the region of the body, or nil
	Instances         []Instance
}

// Instance is one of a series.
type Instance struct {
	SOPClassUID, SOPInstanceUID string
	Number                      string // InstanceNumber
	Frames                      int    // 0 and 1 are not written
}

// SOPInstanceUID is the manifest's own. Another version has another one, and
// every node finds the same.
func (m *Manifest) SOPInstanceUID() string {
	return uidOf("manifest", m.Study.StudyInstanceUID, strconv.Itoa(m.Version))
}

// SeriesInstanceUID is of the series in which all versions of the study's
// manifest lie.
func (m *Manifest) SeriesInstanceUID() string { return uidOf("manifests", m.Study.StudyInstanceUID) }

// uidOf is a UID that is derived from words by way of a UUID (PS3.5 §B.2): the
// same words give the same UID.
func uidOf(words ...string) string {
	u := uuid(words)
	return "2.25." + new(big.Int).SetBytes(u[:]).String()
}

// uuid is the first bytes of the words' SHA-256 as a UUID of version 8 (RFC
// 9562 §5.8).
func uuid(words []string) [16]byte {
	h := sha256.New()
	for _, w := range words {
		fmt.Fprintf(h, "%d:%s", len(w), w)
	}
	u := [16]byte(h.Sum(nil))
	u[6], u[8] = u[6]&0x0F|0x80, u[8]&0x3F|0x80
	return u
}

// Validate returns nil, or an error that wraps storage.ErrInvalid and says why
// no manifest can be made. It repeats nothing of the patient.
func (m *Manifest) Validate() error {
	p := m.Patient
	for _, need := range []struct {
		what  string
		there bool
	}{
		{"version or time", m.Version >= 1 && !m.Created.IsZero()},
		{"a qualified identity", p.Matricule != "" && p.Issuer.UniversalID != ""},
		{"the patient's traits", p.Name != "" && p.BirthDate != "" && p.Sex != ""},
		{"the structure's identifier", m.Structure.ID != "" && m.Structure.OID != ""},
		{"the root that its instances are retrieved from", m.Retrieve != "" && !strings.HasSuffix(m.Retrieve, "/")},
		{"a series", len(m.Study.Series) > 0},
	} {
		if !need.there {
			return fmt.Errorf("%w: a manifest without %s", storage.ErrInvalid, need.what)
		}
	}
	for i := range m.Study.Series {
		if err := m.Study.Series[i].validate(m.Study.StudyInstanceUID); err != nil {
			return err
		}
	}
	return nil
}

func (s *Series) validate(study string) error {
	if len(s.Instances) == 0 {
		return fmt.Errorf("%w: a manifest without an instance of series %.64q", storage.ErrInvalid, s.SeriesInstanceUID)
	}
	for _, in := range s.Instances {
		key := storage.InstanceKey{StudyInstanceUID: study, SeriesInstanceUID: s.SeriesInstanceUID, SOPInstanceUID: in.SOPInstanceUID}
		if err := key.Validate(); err != nil {
			return err
		}
		if !storage.ValidUID(in.SOPClassUID) {
			return fmt.Errorf("%w: a manifest without the SOPClassUID of %s", storage.ErrInvalid, in.SOPInstanceUID)
		}
	}
	return nil
}

// modalities are those of the study, sorted, each once.
func (s *Study) modalities() []string {
	var all []string
	for _, e := range s.Series {
		if e.Modality != "" {
			all = append(all, e.Modality)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Instances is how many there are.
func (s *Study) Instances() int {
	n := 0
	for _, e := range s.Series {
		n += len(e.Instances)
	}
	return n
}

func (m *Manifest) studyURL() string { return m.Retrieve + "/studies/" + m.Study.StudyInstanceUID }

func (m *Manifest) seriesURL(s *Series) string {
	return m.studyURL() + "/series/" + s.SeriesInstanceUID
}
