package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// region is a configuration of sites.
func region(t *testing.T) string {
	t.Helper()
	sum := sha256.Sum256([]byte("haguenau's token"))
	path := filepath.Join(t.TempDir(), "sites.yaml")
	text := fmt.Sprintf(`sites:
  - name: Hôpital de Hautepierre
    finess: "670000025"
    issuer: {name: HUS, oid: 1.2.250.1.999.1}
    calling-ae: [HTP_PACS, "HTP_CT*"]
  - name: Hôpitaux civils de Colmar
    finess: "680000973"
    issuer: {name: HCC}
    calling-ae: [COL_PACS]
  - name: CH de Haguenau
    finess: "670000157"
    tokens-sha256: [%s]
    issuer: {name: CHH}
`, hex.EncodeToString(sum[:]))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// sender sends studies as one site's PACS does, with storescu.
type sender struct {
	t    *testing.T
	node *process
	ae   string
}

// send pushes the instances' files and returns what storescu says.
func (s sender) send(instances ...dicomtest.Instance) (string, int) {
	s.t.Helper()
	dir := s.t.TempDir()
	args := []string{"-v", "-aet", s.ae, "-aec", "CIGOGNE"}
	host, port := s.node.hostPort()
	args = append(args, host, port)
	for i, in := range instances {
		path := filepath.Join(dir, fmt.Sprint(i, ".dcm"))
		if err := os.WriteFile(path, fileOf(in), 0o600); err != nil {
			s.t.Fatal(err)
		}
		args = append(args, path)
	}
	text, code, err := output(s.t.Context(), tool(s.t, "storescu"), args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return text, code
}

func (s sender) mustSend(instances ...dicomtest.Instance) {
	s.t.Helper()
	if text, code := s.send(instances...); code != 0 {
		s.t.Fatalf("%s: storescu ended with %d: %s", s.ae, code, text)
	}
}

func patient4711(seed uint64) dicomtest.Study {
	return dicomtest.NewStudy(dicomtest.Options{Seed: seed, Modality: "CR", Instances: 2, PatientID: "4711"})
}

// uids are the StudyInstanceUIDs of the answers, sorted.
func uids(found []dicom.DataSet) []string {
	var all []string
	for _, ds := range found {
		all = append(all, ds.String(0x0020000D))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// TestSamePatientIDOfTwoSites: the patients 4711 of four issuers, two of them
// configured, one stated by the Data Sets and one of a sender that nobody
// knows, are four in every search, count and list of priors; also after
// archiving and in an index made anew.
func TestSamePatientIDOfTwoSites(t *testing.T) {
	t.Parallel()
	dir, sites := t.TempDir(), region(t)
	node := serve(t, dir, "--sites", sites, "--settle", "20ms", "--log-level", "error")
	studies := map[string]dicomtest.Study{
		"HUS": patient4711(9001), "HCC": patient4711(9002), "unknown:CABINET7": patient4711(9003), "GHR": patient4711(9004),
	}
	sender{t, node, "HTP_CT2"}.mustSend(studies["HUS"].Instances...)
	sender{t, node, "COL_PACS"}.mustSend(studies["HCC"].Instances...)
	sender{t, node, "CABINET7"}.mustSend(studies["unknown:CABINET7"].Instances...)
	pushStated(t, node, "GHR", studies["GHR"])
	only := dicomtest.NewStudy(dicomtest.Options{Seed: 9005, Modality: "CR", Instances: 1, PatientID: "0815"})
	sender{t, node, "COL_PACS"}.mustSend(only.Instances...)

	askAll(t, node, studies, only)
	intrude(t, node, studies)
	askAll(t, node, studies, only)
	node.archived()
	askAll(t, node, studies, only)
	node.stop()
	if err := os.RemoveAll(filepath.Join(dir, "index")); err != nil {
		t.Fatal(err)
	}
	if code, said := told(t, dir, "archive rebuild-index"); code != exitOK {
		t.Fatal(said)
	}
	node = serve(t, dir, "--sites", sites, "--log-level", "error")
	askAll(t, node, studies, only)
}

// pushStated sends a study whose Data Sets say who issued the PatientID.
func pushStated(t *testing.T, node *process, issuer string, study dicomtest.Study) {
	t.Helper()
	host, port := node.hostPort()
	for i, in := range study.Instances {
		path := filepath.Join(t.TempDir(), fmt.Sprint(i, ".dcm"))
		if err := os.WriteFile(path, fileOf(in), 0o600); err != nil {
			t.Fatal(err)
		}
		mustRun(t, tool(t, "dcmodify"), "-nb", "-i", "(0010,0021)="+issuer, path)
		mustRun(t, tool(t, "storescu"), "-aet", "WHOEVER", "-aec", "CIGOGNE", host, port, path)
	}
}

// askAll asks in every way for the patients 4711.
func askAll(t *testing.T, node *process, studies map[string]dicomtest.Study, only dicomtest.Study) {
	t.Helper()
	ask := func(resource string, match url.Values) []dicom.DataSet {
		t.Helper()
		found, err := search(t.Context(), node.web, resource, match)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	all := ask("studies", nil)
	if len(all) != len(studies)+1 {
		t.Fatalf("%d studies", len(all))
	}
	for issuer, study := range studies {
		for _, resource := range []string{"studies", "series", "instances"} {
			found := ask(resource, url.Values{"PatientID": {"4711"}, "IssuerOfPatientID": {issuer}})
			if got := uids(found); len(got) != 1 || got[0] != study.StudyInstanceUID {
				t.Errorf("%s of 4711 of %s: %v, want %s", resource, issuer, got, study.StudyInstanceUID)
			}
			if got := found[0].String(0x00100021); got != issuer {
				t.Errorf("IssuerOfPatientID %q, want %q", got, issuer)
			}
		}
		if found := ask("studies", url.Values{"PatientID": {"4711"}, "StudyInstanceUID": {study.StudyInstanceUID}}); len(found) != 1 || found[0].String(0x00201208) != "2" {
			t.Errorf("the study itself: %v", found)
		}
		saysIssuer(t, node, study, issuer)
	}
	if got := uids(ask("studies", url.Values{"PatientID": {"4711"}, "IssuerOfPatientIDQualifiersSequence.UniversalEntityID": {"1.2.250.1.999.1"}})); len(got) != 1 || got[0] != studies["HUS"].StudyInstanceUID {
		t.Errorf("by OID: %v", got)
	}
	site := ask("studies", url.Values{"InstitutionCodeSequence.CodeValue": {"680000973"}})
	if len(site) != 2 || !strings.Contains(string(site[0].AppendJSON(nil)), "Hôpitaux civils de Colmar") {
		t.Errorf("studies of Colmar: %v", site)
	}
	// As viewers ask for priors: one patient's, or an error that they pass over.
	if found := ask("studies", url.Values{"00100020": {only.PatientID}, "limit": {"101"}}); len(found) != 1 {
		t.Errorf("priors of a PatientID that is one patient's: %v", found)
	}
	for _, resource := range []string{"studies", "series", "instances"} {
		if status, said := plainly(t, node.web+"/dicom-web/"+resource+"?00100020=4711&limit=101", ""); status != http.StatusConflict || !strings.Contains(said, "HCC") {
			t.Errorf("%s by a PatientID of four: %d %s", resource, status, said)
		}
	}
}

// saysIssuer checks that the metadata has the issuer laid over, and that the
// stored bytes have not.
func saysIssuer(t *testing.T, node *process, study dicomtest.Study, issuer string) {
	t.Helper()
	status, metadata := plainly(t, node.web+"/dicom-web/studies/"+study.StudyInstanceUID+"/metadata", "")
	want := fmt.Sprintf(`"00100021":{"vr":"LO","Value":[%q]}`, issuer)
	if assumed := strings.HasPrefix(issuer, "unknown:"); status != http.StatusOK || strings.Count(metadata, want) != map[bool]int{false: 2, true: 0}[assumed] {
		t.Errorf("metadata of %s: %d %.600s", issuer, status, metadata)
	}
	if issuer == "GHR" {
		return
	}
	for _, in := range study.Instances {
		_, file := plainly(t, instanceURL(node.web, keyOf(in)), "")
		if strings.Contains(file, "\x10\x00\x21\x00LO") || !strings.Contains(file, "\x10\x00\x20\x00LO\x04\x004711") {
			t.Errorf("instance of %s: the stored bytes have an issuer, or are none", issuer)
		}
	}
}

// intrude sends into Hautepierre's study from elsewhere: what is known already
// is no harm, what is not is kept aside.
func intrude(t *testing.T, node *process, studies map[string]dicomtest.Study) {
	t.Helper()
	study := studies["HUS"]
	sender{t, node, "COL_PACS"}.mustSend(study.Instances...)
	if found, err := search(t.Context(), node.web, "conflicts", nil); err != nil || len(found) != 0 {
		t.Errorf("conflicts after duplicates: %v, %v", found, err)
	}
	more := dicomtest.NewStudy(dicomtest.Options{Seed: 9001, Modality: "CR", Instances: 3, PatientID: "4711"}).Instances[2:]
	if text, _ := (sender{t, node, "COL_PACS"}).send(more...); !strings.Contains(text, "0xb000") && !strings.Contains(text, "Coercion") {
		t.Errorf("a foreign instance: %s", text)
	}
	if found, err := search(t.Context(), node.web, "conflicts", nil); err != nil || len(found) != 1 {
		t.Errorf("conflicts: %v, %v", found, err)
	}
}

// plainly gets a URL, with a bearer token where there is one.
func plainly(t *testing.T, at, token string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "application/dicom, application/dicom+json;q=0.5")
	return answerTo(t, r, token)
}

func answerTo(t *testing.T, r *http.Request, token string) (status int, body string) {
	t.Helper()
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// TestUnknownSendersAreRefused where that is configured, by either transport;
// those of a site are not.
func TestUnknownSendersAreRefused(t *testing.T) {
	t.Parallel()
	node := serve(t, t.TempDir(), "--sites", region(t), "--unknown-senders", "refuse", "--log-level", "error")
	study := patient4711(9010)
	if text, code := (sender{t, node, "CABINET7"}).send(study.Instances[0]); code == 0 || !strings.Contains(text, "Refused") {
		t.Errorf("storescu of a stranger: %d %s", code, text)
	}
	sender{t, node, "HTP_PACS"}.mustSend(study.Instances[0])
	other := patient4711(9011).Instances[0]
	for _, c := range []struct {
		token  string
		status int
	}{{"", http.StatusForbidden}, {"another token", http.StatusForbidden}, {"haguenau's token", http.StatusOK}} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, node.web+"/dicom-web/studies", bytes.NewReader(fileOf(other)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/dicom")
		if status, said := answerTo(t, r, c.token); status != c.status {
			t.Errorf("STOW-RS with token %q: %d %s", c.token, status, said)
		}
	}
	found, err := search(t.Context(), node.web, "studies", url.Values{"IssuerOfPatientID": {"CHH"}})
	if err != nil || len(found) != 1 {
		t.Errorf("Haguenau's studies: %v, %v", found, err)
	}
}
