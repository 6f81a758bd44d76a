package manifest_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/gateway/dmp/manifest"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

// sample is the manifest of a study with so many CT images, a dose report and
// a key image.
func sample(images int) *manifest.Manifest {
	ct := manifest.Series{SeriesInstanceUID: "2.25.11", Modality: "CT", Number: "2", Description: "Thorax 1.0", Region: &manifest.Code{
		Code: "51185008", Meaning: "Thorax",
	}}
	for i := range images {
		ct.Instances = append(ct.Instances, manifest.Instance{
			SOPClassUID: "1.2.840.10008.5.1.4.1.1.2", SOPInstanceUID: fmt.Sprintf("2.25.11.%d", i+1), Number: strconv.Itoa(i + 1),
		})
	}
	one := func(series, modality, class string) manifest.Series {
		return manifest.Series{SeriesInstanceUID: series, Modality: modality, Number: "9", Instances: []manifest.Instance{{
			SOPClassUID: class, SOPInstanceUID: series + ".1", Number: "1",
		}}}
	}
	return &manifest.Manifest{
		Version: 1, Created: time.Date(2026, 3, 4, 5, 6, 7, 0, time.FixedZone("", 3600)),
		Patient: manifest.Patient{
			Matricule: "279035121518989",
			Issuer:    storage.Issuer{Name: "ASIP-SANTE-INS-NIR", UniversalID: "1.2.250.1.213.1.4.10", UniversalIDType: "ISO"},
			Name:      "ÉTIENNE^ANNE", BirthDate: "19790315", Sex: "F", BirthPlace: "51215",
		},
		Structure: manifest.Structure{Name: "Clinique de l'Orangerie", ID: "1670000000", OID: "1.2.250.1.71.4.2.2"},
		Study: manifest.Study{
			StudyInstanceUID: "2.25.1", StudyDate: "20260303", StudyTime: "101500", StudyID: "S1", Description: "TDM thorax",
			AccessionNumber: "A4711", AccessionIssuer: storage.Issuer{UniversalID: "1.2.250.1.999.1", UniversalIDType: "ISO"},
			PlacerOrder: "P12", PlacerIssuer: storage.Issuer{UniversalID: "1.2.250.1.999.2", UniversalIDType: "ISO"},
			Series: []manifest.Series{
				ct, one("2.25.12", "SR", "1.2.840.10008.5.1.4.1.1.88.67"), one("2.25.13", "PR", "1.2.840.10008.5.1.4.1.1.11.1"),
			},
		},
		Retrieve: "https://images.example/dicom-web", Location: "2.25.99",
	}
}

// file writes the manifest as a file of PS3.10.
func file(t *testing.T, m *manifest.Manifest) string {
	t.Helper()
	ds, err := m.DataSet()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "kos.dcm")
	b := dicom.AppendFileMeta(nil, dicom.FileMeta{
		SOPClassUID: manifest.SOPClassUID, SOPInstanceUID: m.SOPInstanceUID(), TransferSyntaxUID: manifest.TransferSyntaxUID,
	})
	if err := os.WriteFile(path, append(b, ds...), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// allowed are the attributes that the national shape adds to the IOD.
func allowed(line string) bool {
	for _, keyword := range []string{"(0x0008,0x1190)", "(0x0020,0x0013)", "(0x0020,0x0011)"} {
		if strings.Contains(line, keyword) {
			return strings.Contains(line, "not in standard IOD") || strings.Contains(line, "not present in standard DICOM IOD")
		}
	}
	return false
}

// TestDciodvfyFindsNoError holds the manifest against the standard's own
// definition, as dicom3tools have it.
func TestDciodvfyFindsNoError(t *testing.T) {
	tool, err := exec.LookPath("dciodvfy")
	if err != nil {
		t.Skip("dciodvfy is not installed: apt-get install dicom3tools")
	}
	for _, images := range []int{1, 2000} {
		out, err := exec.CommandContext(t.Context(), tool, "-new", file(t, sample(images))).CombinedOutput()
		if err != nil && len(out) == 0 {
			t.Fatal(err)
		}
		if !bytes.Contains(out, []byte("KeyObjectSelectionDocument")) {
			t.Errorf("it did not see a Key Object Selection Document:\n%.2000s", out)
		}
		for line := range strings.Lines(string(out)) {
			if strings.HasPrefix(line, "Error") && !allowed(line) {
				t.Errorf("%d images: %s", images, line)
			}
		}
	}
}

// TestDsrdumpReadsIt: DCMTK understands it as a structured report and names
// what it lists.
func TestDsrdumpReadsIt(t *testing.T) {
	tool, err := exec.LookPath("dsrdump")
	if err != nil {
		t.Skip("dsrdump is not installed: apt-get install dcmtk")
	}
	out, err := exec.CommandContext(t.Context(), tool, "+U8", file(t, sample(3))).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{
		"Key Object Selection Document", "Manifest", "Série-2.25.11 : CT", "contains IMAGE:=(CT image,)", "contains COMPOSITE:=",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}

// TestAnotherVersionIsAnotherInstance of the same series; and the same version
// is the same bytes, on whatever node.
func TestAnotherVersionIsAnotherInstance(t *testing.T) {
	first, again, second := sample(2), sample(2), sample(2)
	second.Version = 2
	if first.SOPInstanceUID() == second.SOPInstanceUID() || first.SeriesInstanceUID() != second.SeriesInstanceUID() {
		t.Errorf("versions 1 and 2: %s and %s", first.SOPInstanceUID(), second.SOPInstanceUID())
	}
	a, aerr := first.DataSet()
	b, berr := again.DataSet()
	if aerr != nil || berr != nil || !bytes.Equal(a, b) {
		t.Errorf("the same manifest has other bytes: %v, %v", aerr, berr)
	}
}

func TestWhatIsNoManifest(t *testing.T) {
	for name, spoil := range map[string]func(*manifest.Manifest){
		"no version":            func(m *manifest.Manifest) { m.Version = 0 },
		"no qualified identity": func(m *manifest.Manifest) { m.Patient.Matricule = "" },
		"no traits":             func(m *manifest.Manifest) { m.Patient.BirthDate = "" },
		"no structure":          func(m *manifest.Manifest) { m.Structure = manifest.Structure{} },
		"nowhere to retrieve":   func(m *manifest.Manifest) { m.Retrieve = "" },
		"no series":             func(m *manifest.Manifest) { m.Study.Series = nil },
		"an empty series":       func(m *manifest.Manifest) { m.Study.Series[0].Instances = nil },
		"a path as a UID":       func(m *manifest.Manifest) { m.Study.Series[0].Instances[0].SOPInstanceUID = "../../x" },
		"no SOP class":          func(m *manifest.Manifest) { m.Study.Series[0].Instances[0].SOPClassUID = "" },
	} {
		m := sample(1)
		spoil(m)
		for form, err := range map[string]error{"KOS": errorOf(m.DataSet), "ImagingStudy": errorOf(m.ImagingStudy)} {
			if !errors.Is(err, storage.ErrInvalid) {
				t.Errorf("%s: %s: %v", name, form, err)
			}
		}
	}
}

func errorOf(form func() ([]byte, error)) error {
	_, err := form()
	return err
}
