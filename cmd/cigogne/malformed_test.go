package main

import (
	"bufio"
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

// malformedOutcomes is what becomes of each malformed file that is pushed: ""
// is stored bit for bit, other text is the reason in the log for which the
// answer is 409 and nothing of it is listed. What the Data Sets themselves are
// worth is told by TestMalformedOutcomes of package dicom.
func malformedOutcomes() map[string]string {
	const (
		noMeta  = "not a DICOM file: there is no File Meta Information"
		noStudy = "StudyInstanceUID \\\"\\\" is not a UID"
		noFile  = "neither a PS3.10 file nor a Data Set"
	)
	return map[string]string{
		"dicomswift--jpeg_baseline_synthetic.dcm":      "",
		"gcp--mr_1.0.0.0.dcm":                          "",
		"pydicom--GDCMJ2K_TextGBR.dcm":                 "",
		"pydicom--MR_small_padded.dcm":                 "",
		"pydicom--reportsi_with_empty_number_tags.dcm": "",
		"pydicomdata--explicit_VR-UN.dcm":              "",
		"pydicom--MR_truncated.dcm":                    "the Data Set ends 62 bytes before the value does",
		"pydicom--badVR.dcm":                           "", // its File Meta Information names another instance
		"pydicom--ExplVR_LitEndNoMeta.dcm":             noMeta,
		"pydicom--meta_missing_tsyntax.dcm":            noMeta,
		"pydicom--rtstruct.dcm":                        noMeta,
		"pydicom--no_meta.dcm":                         noFile,
		"pydicom--zipMR.gz":                            noFile,
		"pydicom--UN_sequence.dcm":                     noStudy,
		"pydicom--empty_charset_LEI.dcm":               noStudy,
		"pydicom--no_meta_group_length.dcm":            noStudy,
		"pydicom--priv_SQ.dcm":                         noStudy,
		"pydicomdata--JLSL_RGB_ILV0.dcm":               noStudy,
	}
}

func TestMalformedFiles(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(dicomDir(t), "malformed")
	node := serve(t, t.TempDir(), "--settle", "20ms")
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	outcomes := malformedOutcomes()
	kept := 0
	for _, f := range files {
		t.Run(f.Name(), func(t *testing.T) {
			want, listed := outcomes[f.Name()]
			if !listed {
				t.Fatal("its outcome is not documented")
			}
			file, err := os.ReadFile(filepath.Join(dir, f.Name()))
			if err != nil {
				t.Fatal(err)
			}
			logged := len(node.log.String())
			status, stored, err := stow(t.Context(), node.web, file)
			switch {
			case err != nil:
				t.Fatal(err)
			case want == "" && (status != http.StatusOK || len(stored) != 1):
				t.Fatalf("%d instead of 200: %s", status, node.log.String()[logged:])
			case want == "":
				kept++
				checkFile(t, node, file)
			case status != http.StatusConflict || len(stored) > 0:
				t.Errorf("%d instead of 409", status)
			default:
				node.eventually("refused because "+want, func() bool { return strings.Contains(node.log.String()[logged:], want) })
			}
			found, err := search(t.Context(), node.web, "instances", nil)
			if err != nil || len(found) != kept {
				t.Errorf("%d instances are listed and %d were stored, %v", len(found), kept, err)
			}
		})
	}
	node.stop()
}

// checkFile retrieves the instance of a file and compares the Data Sets.
func checkFile(t *testing.T, node *process, file []byte) {
	t.Helper()
	r := bufio.NewReader(bytes.NewReader(file))
	head, err := dicom.ReadPart10(r)
	if err != nil {
		t.Fatal(err)
	}
	dataSet := file[len(head.Prefix):]
	s := dicom.NewScanner(head.Meta.TransferSyntaxUID, dicom.ScanLimits{})
	if _, err := s.Write(dataSet); err != nil {
		t.Fatal(err)
	}
	found, err := s.Close()
	if err != nil {
		t.Fatal(err)
	}
	checkOne(t, node, storage.InstanceKey{
		StudyInstanceUID: found.StudyInstanceUID, SeriesInstanceUID: found.SeriesInstanceUID, SOPInstanceUID: found.SOPInstanceUID,
	}, storage.DigestOf(dataSet), "stored")
}
