package material

import (
	"os"
	"path/filepath"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// FromAttributes writes an instance that has these attributes and no pixels
// into a file below dir, in UTF-8.
func FromAttributes(dir string, key storage.InstanceKey, sopClassUID string, set dicom.DataSet) (Instance, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Instance{}, err
	}
	m := Instance{Path: filepath.Join(dir, key.SOPInstanceUID)}
	m.SOPClassUID, m.SOPInstanceUID, m.TransferSyntaxUID = sopClassUID, key.SOPInstanceUID, dicomtest.ExplicitLE
	m.StudyInstanceUID, m.SeriesInstanceUID = key.StudyInstanceUID, key.SeriesInstanceUID
	b, err := dicom.AppendExplicit(nil, set.With(dicom.Element{Tag: 0x00080005, VR: "CS", Values: []string{"ISO_IR 192"}}))
	if err != nil {
		return Instance{}, err
	}
	meta := dicomtest.FileMeta(m.SOPClassUID, m.SOPInstanceUID, m.TransferSyntaxUID)
	m.meta, m.Size = int64(len(meta)), int64(len(meta)+len(b))
	return m, os.WriteFile(m.Path, append(meta, b...), 0o644)
}
