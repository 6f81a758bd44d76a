package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/esante-alsace/cigogne"

// allowed says which of our packages each package may import; a package that
// is not listed is held to the longest listed folder above it. A trailing
// '/...' allows a folder with all below it, '...' all but commands.
func allowed() map[string][]string {
	return map[string][]string{
		"cmd/cigogne":                 {"...", "cmd/cigogne/..."},
		"cmd/cigogne/progress":        {},
		"cmd/cigogne/demo":            {},
		"cmd/cigogne/disk":            {},
		"cmd/cigogne/archives":        {"gateway", "storage/archive", "storage/archive/..."},
		"cmd/cigogne/certs":           {"consensus/peer"},
		"cmd/cigogne/completion":      {},
		"cmd/cigogne/metrics":         {"cmd/cigogne/disk", "consensus", "consensus/copies", "gateway", "gateway/commitment", "gateway/dimse", "gateway/dmp/publication", "gateway/throttle", "storage/index", "storage/journal"},
		"cmd/cigogne/tracing":         {"storage/trace"},
		"cmd/cigogne/sites":           {"gateway", "storage"},
		"cmd/cigogne/settings":        {},
		"cmd/cigogne/httpserver":      {"gateway/throttle"},
		"cmd/cigogne/listener":        {"gateway/throttle"},
		"cmd/cigogne/client":          {"storage", "gateway/dicomweb"},
		"cmd/cigogne/puller":          {"storage", "gateway/dicomweb", "cmd/cigogne/client", "cmd/cigogne/progress"},
		"cmd/cigogne/pusher":          {"storage", "storage/dicom", "gateway/dicomweb", "cmd/cigogne/client", "cmd/cigogne/progress"},
		"gateway":                     {"storage/...", "gateway/dmp/ins"},
		"gateway/access":              {"storage"},
		"gateway/answer":              {"storage"},
		"gateway/dmp":                 {"gateway", "gateway/access", "gateway/answer", "gateway/dmp/ins", "storage", "storage/dicom", "storage/index"},
		"gateway/dmp/ins":             {"storage"},
		"gateway/dmp/publication":     {"gateway", "gateway/access", "gateway/answer", "gateway/dmp/ins", "gateway/dmp/manifest", "storage", "storage/dicom", "storage/index"},
		"gateway/commitment":          {"gateway", "storage", "storage/index"},
		"gateway/dimse":               {"gateway", "gateway/access", "gateway/commitment", "gateway/dimse/...", "gateway/throttle", "storage", "storage/dicom", "storage/index", "storage/trace"},
		"gateway/dimse/pdu":           {"storage"},
		"gateway/dimse/dimsetest":     {"gateway/commitment", "gateway/dimse", "gateway/dimse/pdu", "storage/dicom", "storage/dicom/dicomtest"},
		"gateway/dimse/ul":            {"storage", "gateway/dimse/pdu"},
		"gateway/dicomweb":            {"gateway", "gateway/access", "storage", "storage/dicom", "storage/index", "storage/trace"},
		"gateway/throttle":            {},
		"gateway/rpc":                 {"gateway", "gateway/access", "gateway/throttle", "gateway/rpc/cigogne/v1", "storage", "storage/dicom", "storage/index", "storage/trace"},
		"gateway/rpc/cigogne/v1":      {},
		"gateway/custody":             {"gateway", "gateway/access", "gateway/answer", "storage", "storage/index"},
		"gateway/ops":                 {"gateway/access", "storage"},
		"gateway/web":                 {"gateway", "storage", "storage/index", "storage/dicom"},
		"gateway/dmp/manifest":        {"storage", "storage/dicom"},
		"storage":                     {},
		"storage/dicom":               {"storage"},
		"storage/dicom/dicomtest":     {"storage", "storage/dicom"},
		"storage/journal":             {"storage", "storage/sound"},
		"storage/pack":                {"storage", "storage/dicom"},
		"storage/archive":             {"storage"},
		"storage/archive/dir":         {"storage", "storage/archive", "storage/sound"},
		"storage/archive/mem":         {"storage", "storage/archive"},
		"storage/archive/s3":          {"storage", "storage/archive"},
		"storage/archive/set":         {"storage", "storage/archive", "storage/sound"},
		"storage/archive/cache":       {"storage", "storage/archive"},
		"storage/archive/paced":       {"storage", "storage/archive"},
		"storage/archive/archivetest": {"storage", "storage/archive"},
		"storage/failpoint":           {},
		"storage/sound":               {"storage"},
		"storage/trace":               {},
		"storage/index":               {"storage", "storage/dicom"},
		"storage/index/indextest":     {"storage", "storage/dicom", "storage/index"},
		"consensus/peer":              {"storage", "storage/trace"},
		"consensus":                   {"storage", "storage/index", "storage/trace", "consensus/peer"},
		"consensus/clustertest":       {"storage", "storage/...", "consensus/..."},
		"consensus/copies":            {"storage", "storage/index", "storage/journal", "consensus/peer"},
		"benchmarks":                  {"..."},
	}
}

// TestLayers fails on an import that points upwards or sideways. Tests may
// import the shared test folders and, for the wire, the packages above.
func TestLayers(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", module+"/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	rules := allowed()
	packages := 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; packages++ {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		from := strings.TrimPrefix(p.ImportPath, module+"/")
		rule, ok := ruleFor(rules, from)
		if !ok {
			t.Errorf("%s is in no room of the design: list it here with what it may import", from)
			continue
		}
		for _, imp := range p.Imports {
			to, ours := strings.CutPrefix(imp, module+"/")
			if ours && !permits(rule, to) {
				t.Errorf("%s must not import %s", from, to)
			}
		}
	}
	if packages < 10 {
		t.Fatalf("go list named only %d packages", packages)
	}
}

func ruleFor(rules map[string][]string, pkg string) ([]string, bool) {
	for at := pkg; ; {
		if r, ok := rules[at]; ok {
			return r, true
		}
		cut := strings.LastIndexByte(at, '/')
		if cut < 0 {
			return nil, false
		}
		at = at[:cut]
	}
}

func permits(rule []string, to string) bool {
	for _, r := range rule {
		if r == "..." {
			if !strings.HasPrefix(to, "cmd/") {
				return true
			}
			continue
		}
		if folder, deep := strings.CutSuffix(r, "/..."); r == to || deep && (to == folder || strings.HasPrefix(to, folder+"/")) {
			return true
		}
	}
	return false
}
