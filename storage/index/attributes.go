package index

import (
	"slices"
	"sync"

	"github.com/esante-alsace/cigogne/storage/dicom"
)

// The attributes that the index itself has to know by name.
const (
	tagSpecificCharacterSet   dicom.Tag = 0x00080005
	tagSOPClassUID            dicom.Tag = 0x00080016
	tagSOPInstanceUID         dicom.Tag = 0x00080018
	tagStudyDate              dicom.Tag = 0x00080020
	tagAccessionNumber        dicom.Tag = 0x00080050
	tagInstanceAvailability   dicom.Tag = 0x00080056
	tagModality               dicom.Tag = 0x00080060
	tagModalitiesInStudy      dicom.Tag = 0x00080061
	tagSOPClassesInStudy      dicom.Tag = 0x00080062
	tagReferringPhysicianName dicom.Tag = 0x00080090
	tagPatientName            dicom.Tag = 0x00100010
	tagPatientID              dicom.Tag = 0x00100020
	tagIssuerOfPatientID      dicom.Tag = 0x00100021
	tagIssuerQualifiers       dicom.Tag = 0x00100024
	tagTypeOfPatientID        dicom.Tag = 0x00100022
	tagOtherPatientIDs        dicom.Tag = 0x00101002 // OtherPatientIDsSequence
	tagUniversalEntityID      dicom.Tag = 0x00400032
	tagUniversalEntityIDType  dicom.Tag = 0x00400033
	tagStudyInstanceUID       dicom.Tag = 0x0020000D
	tagSeriesInstanceUID      dicom.Tag = 0x0020000E
	tagInstanceNumber         dicom.Tag = 0x00200013
	tagSeriesInStudy          dicom.Tag = 0x00201206
	tagInstancesInStudy       dicom.Tag = 0x00201208
	tagInstancesInSeries      dicom.Tag = 0x00201209
	tagTransferSyntaxOffered  dicom.Tag = 0x00083002
)

// role says what the index does with an attribute.
type role uint8

const (
	kept     role = iota // returned when it is asked for
	usual                // returned always (PS3.18 Tables 10.6.3-3 to 10.6.3-5)
	computed             // kept by counting, never taken from a Data Set; returned always
	told                 // what the receiver knows, never taken from a Data Set; returned where it is there
)

// attribute is a row of the table below.
type attribute struct {
	tag   dicom.Tag
	vr    dicom.VR
	level Level
	role  role
}

// attributes are all that the index knows, by ascending tag. Attributes of the
// patient are kept with the study: first come stands.
func attributes() []attribute {
	return []attribute{
		{tagSpecificCharacterSet, "CS", Study, computed},
		{0x00080008, "CS", Image, kept}, // ImageType
		{tagSOPClassUID, "UI", Image, usual},
		{tagSOPInstanceUID, "UI", Image, usual},
		{tagStudyDate, "DA", Study, usual},
		{0x00080021, "DA", Series, kept}, // SeriesDate
		{0x00080022, "DA", Image, kept},  // AcquisitionDate
		{0x00080023, "DA", Image, kept},  // ContentDate
		{0x0008002A, "DT", Image, kept},  // AcquisitionDateTime
		{0x00080030, "TM", Study, usual}, // StudyTime
		{0x00080031, "TM", Series, kept}, // SeriesTime
		{0x00080032, "TM", Image, kept},  // AcquisitionTime
		{0x00080033, "TM", Image, kept},  // ContentTime
		{tagAccessionNumber, "SH", Study, usual},
		{0x00080051, "SQ", Study, kept}, // IssuerOfAccessionNumberSequence
		{tagInstanceAvailability, "CS", Study, computed},
		{tagModality, "CS", Series, usual},
		{tagModalitiesInStudy, "CS", Study, computed},
		{tagSOPClassesInStudy, "UI", Study, computed},
		{0x00080070, "LO", Series, kept}, // Manufacturer
		{0x00080080, "LO", Series, kept}, // InstitutionName
		{0x00080082, "SQ", Study, told},  // InstitutionCodeSequence, the site that sent the study
		{tagReferringPhysicianName, "PN", Study, usual},
		{0x00080201, "SH", Study, usual},  // TimezoneOffsetFromUTC
		{0x00081010, "SH", Series, kept},  // StationName
		{0x00081030, "LO", Study, kept},   // StudyDescription
		{0x00081032, "SQ", Study, kept},   // ProcedureCodeSequence
		{0x0008103E, "LO", Series, usual}, // SeriesDescription
		{0x00081040, "LO", Series, kept},  // InstitutionalDepartmentName
		{0x00081050, "PN", Series, kept},  // PerformingPhysicianName
		{0x00081060, "PN", Study, kept},   // NameOfPhysiciansReadingStudy
		{0x00081070, "PN", Series, kept},  // OperatorsName
		{0x00081080, "LO", Study, kept},   // AdmittingDiagnosesDescription
		{0x00081090, "LO", Series, kept},  // ManufacturerModelName
		{tagTransferSyntaxOffered, "UI", Image, usual},
		{tagPatientName, "PN", Study, usual},
		{tagPatientID, "LO", Study, usual},
		{tagIssuerOfPatientID, "LO", Study, usual},
		{tagIssuerQualifiers, "SQ", Study, usual},
		{0x00100030, "DA", Study, usual}, // PatientBirthDate
		{0x00100032, "TM", Study, kept},  // PatientBirthTime
		{0x00100040, "CS", Study, usual}, // PatientSex
		{0x00101000, "LO", Study, kept},  // OtherPatientIDs
		{0x00101001, "PN", Study, kept},  // OtherPatientNames
		{tagOtherPatientIDs, "SQ", Study, kept},
		{0x00101010, "AS", Study, kept},  // PatientAge
		{0x00101020, "DS", Study, kept},  // PatientSize
		{0x00101030, "DS", Study, kept},  // PatientWeight
		{0x00104000, "LT", Study, kept},  // PatientComments
		{0x00180015, "CS", Series, kept}, // BodyPartExamined
		{0x00181030, "LO", Series, kept}, // ProtocolName
		{0x00185100, "CS", Series, kept}, // PatientPosition
		{tagStudyInstanceUID, "UI", Study, usual},
		{tagSeriesInstanceUID, "UI", Series, usual},
		{0x00200010, "SH", Study, usual},  // StudyID
		{0x00200011, "IS", Series, usual}, // SeriesNumber
		{0x00200012, "IS", Image, kept},   // AcquisitionNumber
		{tagInstanceNumber, "IS", Image, usual},
		{0x00200052, "UI", Series, kept}, // FrameOfReferenceUID
		{0x00200060, "CS", Series, kept}, // Laterality
		{tagSeriesInStudy, "IS", Study, computed},
		{tagInstancesInStudy, "IS", Study, computed},
		{tagInstancesInSeries, "IS", Series, computed},
		{0x00280008, "IS", Image, usual},  // NumberOfFrames
		{0x00280010, "US", Image, usual},  // Rows
		{0x00280011, "US", Image, usual},  // Columns
		{0x00280100, "US", Image, usual},  // BitsAllocated
		{0x00321060, "LO", Study, kept},   // RequestedProcedureDescription
		{0x00380010, "LO", Study, kept},   // AdmissionID
		{0x00400244, "DA", Series, usual}, // PerformedProcedureStepStartDate
		{0x00400245, "TM", Series, usual}, // PerformedProcedureStepStartTime
		{0x00400253, "SH", Series, kept},  // PerformedProcedureStepID
		{0x00400254, "LO", Series, kept},  // PerformedProcedureStepDescription
		{0x00400275, "SQ", Series, usual}, // RequestAttributesSequence
		{0x0040A043, "SQ", Image, kept},   // ConceptNameCodeSequence
		{0x0040A491, "CS", Image, kept},   // CompletionFlag
		{0x0040A493, "CS", Image, kept},   // VerificationFlag
		{0x00420010, "ST", Image, kept},   // DocumentTitle
		{0x00700080, "CS", Image, kept},   // ContentLabel
		{0x00700081, "LO", Image, kept},   // ContentDescription
	}
}

// dictionary is the table by tag, made once: every query asks it.
var dictionary = sync.OnceValue(func() map[dicom.Tag]attribute { //nolint:gochecknoglobals // a constant table
	table := attributes()
	byTag := make(map[dicom.Tag]attribute, len(table))
	for _, a := range table {
		byTag[a.tag] = a
	}
	return byTag
})

// Indexed lists the attributes to be taken from a Data Set for Instance's
// Attributes, of all levels, by ascending tag. The list is not to be changed.
func Indexed() []dicom.Tag { return indexed() }

var indexed = sync.OnceValue(func() []dicom.Tag { //nolint:gochecknoglobals // a constant list, asked for with every instance
	var tags []dicom.Tag
	for _, a := range attributes() {
		if a.role != computed && a.role != told && a.tag != tagTransferSyntaxOffered {
			tags = append(tags, a.tag)
		}
	}
	return slices.Clip(tags)
})

// Known lists the attributes that a query at the level can match and return:
// those of the level and of the levels above it, by ascending tag.
func Known(level Level) []dicom.Tag {
	var tags []dicom.Tag
	for _, a := range attributes() {
		if a.level <= level {
			tags = append(tags, a.tag)
		}
	}
	return tags
}

// find returns the element of ds, which is sorted by tag, or nil.
func find(ds dicom.DataSet, tag dicom.Tag) *dicom.Element {
	i, ok := slices.BinarySearchFunc(ds, tag, func(e dicom.Element, t dicom.Tag) int {
		switch {
		case e.Tag < t:
			return -1
		case e.Tag > t:
			return 1
		}
		return 0
	})
	if !ok {
		return nil
	}
	return &ds[i]
}
