package dicom_test

import (
	"testing"

	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

func scan(t *testing.T, ts string, dataSet []byte, chunk int) (*dicom.Result, error) {
	t.Helper()
	s := dicom.NewScanner(ts, dicom.ScanLimits{})
	for len(dataSet) > 0 {
		n := min(chunk, len(dataSet))
		if _, err := s.Write(dataSet[:n]); err != nil {
			s.Abort()
			return nil, err
		}
		dataSet = dataSet[n:]
	}
	return s.Close()
}

func TestEveryTransferSyntaxGivesTheSameAttributes(t *testing.T) {
	for _, ts := range []string{dicomtest.ExplicitLE, dicomtest.ImplicitLE, dicomtest.ExplicitBE, dicomtest.Deflated, dicomtest.RLE, dicomtest.JPEG, dicomtest.HTJ2K, "1.2.3.4"} {
		for _, chunk := range []int{1, 7, 1000, 1 << 30} {
			i := dicomtest.NewStudy(dicomtest.Options{Seed: 1, Modality: "CR", TransferSyntaxUID: ts, Frames: 3}).Instances[0]
			r, err := scan(t, ts, i.DataSet(), chunk)
			if err != nil {
				t.Fatalf("%s in chunks of %d: %v", ts, chunk, err)
			}
			if r.SOPInstanceUID != i.SOPInstanceUID || r.StudyInstanceUID != i.StudyInstanceUID || r.SeriesInstanceUID != i.SeriesInstanceUID || r.SOPClassUID != i.SOPClassUID {
				t.Errorf("%s: identified as %+v", ts, r)
			}
			if ts != dicomtest.Deflated && (r.Layout.Frames == nil || r.Layout.Frames.Count != 3) {
				t.Errorf("%s: frames %+v", ts, r.Layout.Frames)
			}
		}
	}
}
