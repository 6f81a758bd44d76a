package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// change is what /identities answers.
type change struct {
	Name, Kind, Why, By string
	Sequence            int64
}

// odiles is a matricule of nobody.
const odiles = "279035121518989"

// identities asks /identities, and wants a status.
func (p *process) identities(method, path, body string, want int) (c change, text string) {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), method, p.web+"/identities"+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("From", "odile@example.org")
	status, text := answerTo(p.t, r, "")
	if status != want {
		p.t.Fatalf("%s %s: %d %s, want %d", method, path, status, text, want)
	}
	_ = json.Unmarshal([]byte(text), &c) // lists are looked at as text
	return c, text
}

// asserted is the body of a qualified assertion.
func asserted(oid, birthName string) string {
	return `{"matricule":"` + odiles + `","oid":"` + oid + `","status":"VALI","traits":{"birthName":"` + birthName +
		`","givenNames":"ODILE","birthDate":"19790312","sex":"F","birthPlace":"67482"}}`
}

const (
	nir     = "1.2.250.1.213.1.4.8"
	nia     = "1.2.250.1.213.1.4.9"
	testINS = "1.2.250.1.213.1.4.10"
)

// byINS asks for the studies of a national number and returns them in order.
func byINS(t *testing.T, node *process) []dicom.DataSet {
	t.Helper()
	found, err := search(t.Context(), node.web, "studies", url.Values{"PatientID": {odiles}, "IssuerOfPatientID": {"ASIP-SANTE-INS-NIR"}})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestNationalIdentity: the studies of two sites, under two PatientIDs, are
// found by one question once they are linked, newest first and with their
// sites; nobody else's are. What was decided survives a kill and a rebuild.
func TestNationalIdentity(t *testing.T) {
	t.Parallel()
	dir, sites := t.TempDir(), region(t)
	flags := []string{"--sites", sites, "--settle", "20ms", "--log-level", "error"}
	node := serve(t, dir, flags...)
	study := func(seed uint64, id, name string) dicomtest.Study {
		return dicomtest.NewStudy(dicomtest.Options{Seed: seed, Modality: "CR", Instances: 1, PatientID: id, PatientName: name})
	}
	hers, hersToo, his := study(9101, "4711", "Muller^Odile"), study(9102, "0815", "DUPONT^ODILE"), study(9103, "4711", "Weber^Odile")
	sendAs(t, node, "HTP_PACS", hers, "F")
	sendAs(t, node, "COL_PACS", hersToo, "F")
	sendAs(t, node, "COL_PACS", his, "F")

	if found := byINS(t, node); len(found) != 0 {
		t.Errorf("before anything is known: %v", uids(found))
	}
	const hus, hcc = "/local/1.2.250.1.999.1/4711", "/local/HCC/0815"
	if c, _ := node.identities(http.MethodPut, hus, asserted(nir, "MULLER"), http.StatusOK); c.Kind != "linked" || !strings.Contains(c.By, "odile@example.org") {
		t.Errorf("%+v", c)
	}
	node.identities(http.MethodPut, hus, asserted(testINS, "MULLER"), http.StatusBadRequest)
	node.identities(http.MethodPut, "/local/unknown:X/1", asserted(nir, "MULLER"), http.StatusBadRequest)
	node.identities(http.MethodPut, hus, `{"matricule":1}`, http.StatusBadRequest)
	queued, _ := node.identities(http.MethodPut, hcc, asserted(nir, "SCHMITT"), http.StatusOK)
	if queued.Kind != "queued" || !strings.Contains(queued.Why, "birth name") {
		t.Errorf("other traits: %+v", queued)
	}
	if found := byINS(t, node); len(found) != 1 || found[0].String(0x0020000D) != hers.StudyInstanceUID {
		t.Errorf("linked by what is in doubt: %v", uids(found))
	}
	if _, queue := node.identities(http.MethodGet, "/queue", "", http.StatusOK); !strings.Contains(queue, queued.Name) {
		t.Errorf("queue: %s", queue)
	}
	node.identities(http.MethodPut, "/queue/"+queued.Name+"?reason=married", "", http.StatusOK)
	node.identities(http.MethodPut, "/queue/"+queued.Name, "", http.StatusNotFound)
	both(t, node, hers, hersToo)

	node.eventually("archived", func() bool {
		kept, err := filepath.Glob(filepath.Join(dir, "archive", "identities", "*"))
		return err == nil && len(kept) >= 1 && metric(t, node, `cigogne_index_held{kind="live"}`) == "0"
	})
	node.kill()
	node = serve(t, dir, flags...)
	both(t, node, hers, hersToo)
	node.eventually("kept", func() bool { return keptChanges(t, dir) == 3 })
	node.stop()
	if err := os.RemoveAll(filepath.Join(dir, "index")); err != nil {
		t.Fatal(err)
	}
	if code, said := told(t, dir, "archive rebuild-index"); code != exitOK {
		t.Fatal(said)
	}
	node = serve(t, dir, flags...)
	both(t, node, hers, hersToo)
	if _, history := node.identities(http.MethodGet, hcc, "", http.StatusOK); strings.Count(history, `"sequence"`) != 2 || !strings.Contains(history, "married") {
		t.Errorf("history: %s", history)
	}
	node.identities(http.MethodDelete, hcc+"?reason=wrong", "", http.StatusOK)
	if found := byINS(t, node); len(found) != 1 {
		t.Errorf("after an undo: %v", uids(found))
	}
}

// keptChanges counts the changes that lie in the archive, each once.
func keptChanges(t *testing.T, dir string) int {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "archive", "identities", "*"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			var c change
			if json.Unmarshal([]byte(line), &c) == nil && c.Name != "" {
				names[c.Name] = true
			}
		}
	}
	return len(names)
}

// both checks that a number gives the two studies, each with its site.
func both(t *testing.T, node *process, hers, hersToo dicomtest.Study) {
	t.Helper()
	found := byINS(t, node)
	if got := uids(found); len(found) != 2 || len(got) != 2 || found[0].String(0x00080020) < found[1].String(0x00080020) {
		t.Fatalf("hers: %v", found)
	}
	for _, ds := range found {
		site := map[string]string{hers.StudyInstanceUID: "670000025", hersToo.StudyInstanceUID: "680000973"}[ds.String(0x0020000D)]
		if text := string(ds.AppendJSON(nil)); site == "" || !strings.Contains(text, site) || !strings.Contains(text, odiles) {
			t.Errorf("an answer without site or number: %s", text)
		}
	}
}

// sendAs sends a study whose Data Sets say a birth date and a sex, by DCMTK.
func sendAs(t *testing.T, node *process, ae string, study dicomtest.Study, sex string) {
	t.Helper()
	dir := t.TempDir()
	host, port := node.hostPort()
	var files []string
	for i, in := range study.Instances {
		files = append(files, filepath.Join(dir, strconv.Itoa(i)+".dcm"))
		if err := os.WriteFile(files[i], fileOf(in), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mustRun(t, tool(t, "dcmodify"), append([]string{"-nb", "-i", "(0010,0030)=19790312", "-i", "(0010,0040)=" + sex}, files...)...)
	mustRun(t, tool(t, "storescu"), append([]string{"-aet", ae, "-aec", "CIGOGNE", host, port}, files...)...)
}
