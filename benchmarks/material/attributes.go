package material

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

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
	b := &dicomtest.Builder{}
	b.Text(0x00080005, "CS", "ISO_IR 192")
	appendSet(b, set)
	meta := dicomtest.FileMeta(m.SOPClassUID, m.SOPInstanceUID, m.TransferSyntaxUID)
	m.meta, m.Size = int64(len(meta)), int64(len(meta)+b.Len())
	return m, os.WriteFile(m.Path, append(meta, b.Bytes()...), 0o644)
}

func appendSet(b *dicomtest.Builder, set dicom.DataSet) {
	for _, e := range set {
		switch {
		case e.Tag == 0x00080005: // it is ours
		case e.VR == "SQ":
			var items []func(*dicomtest.Builder)
			for _, item := range e.Items {
				items = append(items, func(in *dicomtest.Builder) { appendSet(in, item) })
			}
			b.Sequence(uint32(e.Tag), items...)
		case e.VR == "US":
			n, err := strconv.ParseUint(strings.Join(e.Values, ""), 10, 16)
			if err == nil {
				b.US(uint32(e.Tag), uint16(n))
			}
		default:
			b.Text(uint32(e.Tag), string(e.VR), strings.Join(e.Values, `\`))
		}
	}
}
