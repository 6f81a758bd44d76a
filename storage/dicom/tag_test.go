package dicom_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

func TestParseTag(t *testing.T) {
	for text, want := range map[string]dicom.Tag{
		"00100010": 0x00100010, "7fe00010": 0x7FE00010, "PatientName": 0x00100010,
		"ModalitiesInStudy": 0x00080061, "NumberOfStudyRelatedInstances": 0x00201208, "SOPInstanceUID": 0x00080018,
	} {
		for range 2 { // the second time from the cache
			if got, err := dicom.ParseTag(text); err != nil || got != want {
				t.Errorf("%s: %s, %v", text, got, err)
			}
		}
	}
	for _, text := range []string{"", "0010001", "0010001G", "Patient's Name", "patientname", "-1000010", "+1000010", "PatientNam", strings.Repeat("A", 1<<20)} {
		if _, err := dicom.ParseTag(text); !errors.Is(err, storage.ErrInvalid) || len(err.Error()) > 200 {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}

// The keywords of PS3.18 §10.6.3.3 that QIDO-RS answers with are all known to
// the library's dictionary.
func TestDictionaryHasWhatQueriesNeed(t *testing.T) {
	for _, keyword := range strings.Fields(`SpecificCharacterSet StudyDate StudyTime AccessionNumber
		InstanceAvailability ModalitiesInStudy ReferringPhysicianName TimezoneOffsetFromUTC RetrieveURL PatientName
		PatientID PatientBirthDate PatientSex StudyInstanceUID StudyID NumberOfStudyRelatedSeries
		NumberOfStudyRelatedInstances Modality SeriesDescription SeriesInstanceUID SeriesNumber
		NumberOfSeriesRelatedInstances PerformedProcedureStepStartDate PerformedProcedureStepStartTime
		RequestAttributesSequence ScheduledProcedureStepID RequestedProcedureID SOPClassUID SOPInstanceUID
		InstanceNumber Rows Columns BitsAllocated NumberOfFrames StudyDescription SeriesDate BodyPartExamined
		IssuerOfPatientID OtherPatientIDsSequence InstitutionName StationName`) {
		tag, err := dicom.ParseTag(keyword)
		if err != nil {
			t.Error(err)
			continue
		}
		if tag.Keyword() != keyword || tag.VR() == "UN" {
			t.Errorf("%s: keyword %q, VR %s", keyword, tag.Keyword(), tag.VR())
		}
	}
}

func TestTagVR(t *testing.T) {
	for tag, want := range map[dicom.Tag]dicom.VR{
		0x00100010: "PN", 0x7FE00010: "OW", 0x60000010: "US", 0x60023000: "OW", 0x50100005: "US",
		0x00090010: "LO", 0x00091001: "UN", 0x00280106: "US", 0x00283006: "OW", 0x7FE00001: "OV", 0x00080000: "UL", 0x12345678: "UN",
	} {
		if got := tag.VR(); got != want {
			t.Errorf("%s: %s, want %s", tag, got, want)
		}
	}
}
