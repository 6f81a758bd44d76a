package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/gateway/dimse"
)

// orthanc is a running Orthanc with its DICOMweb plugin, which knows a node
// as the modality and as the DICOMweb server "cigogne".
type orthanc struct {
	t     *testing.T
	web   string
	dicom string // port
	log   *lockedBuffer
}

// startOrthanc starts an Orthanc that is empty, beside the node.
func startOrthanc(t *testing.T, node *process) *orthanc {
	t.Helper()
	return startOrthancAt(t, node, freePort(t))
}

// startOrthancAt is startOrthanc with a port for DICOM.
func startOrthancAt(t *testing.T, node *process, dicomPort string) *orthanc {
	t.Helper()
	program := tool(t, "Orthanc")
	plugin := "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
	if _, err := os.Stat(plugin); err != nil {
		t.Skipf("Orthanc's DICOMweb plugin is not installed: %v", err)
	}
	_, port := node.hostPort()
	dimse, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	httpPort := freePort(t)
	o := &orthanc{t: t, web: "http://127.0.0.1:" + httpPort, dicom: dicomPort}
	config, err := json.Marshal(map[string]any{
		"Name": "Orthanc", "StorageDirectory": t.TempDir(), "IndexDirectory": t.TempDir(),
		"Plugins": []string{plugin}, "StorageCompression": false,
		"HttpPort": number(t, httpPort), "DicomPort": number(t, dicomPort), "DicomAet": "ORTHANC",
		"RemoteAccessAllowed": false, "AuthenticationEnabled": false, "DicomAlwaysAllowStore": true,
		"DicomModalities": map[string]any{"cigogne": []any{"CIGOGNE", "127.0.0.1", dimse}},
		"DicomWeb": map[string]any{
			"Enable": true, "Root": "/dicom-web/",
			"Servers": map[string]any{"cigogne": []string{node.web + "/dicom-web/"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "orthanc.json")
	if err := os.WriteFile(path, config, 0o600); err != nil {
		t.Fatal(err)
	}
	o.log = start(t, program, path)
	awaitPort(t, httpPort)
	// The plugin reads its servers when the port is open already.
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(hangs); ; <-tick.C {
		var servers []string
		if o.call(http.MethodGet, "/dicom-web/servers", nil, &servers); slices.Contains(servers, "cigogne") {
			return o
		}
		if time.Now().After(end) {
			t.Fatalf("Orthanc does not know the node\n%s", o.log)
		}
	}
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// call asks Orthanc's REST API; the answer must be 200 and is decoded.
func (o *orthanc) call(method, path string, body, answer any) {
	o.t.Helper()
	var sent bytes.Buffer
	switch b := body.(type) {
	case nil:
	case []byte:
		sent.Write(b)
	default:
		if err := json.NewEncoder(&sent).Encode(b); err != nil {
			o.t.Fatal(err)
		}
	}
	rq, err := http.NewRequestWithContext(o.t.Context(), method, o.web+path, &sent)
	if err != nil {
		o.t.Fatal(err)
	}
	rsp, err := http.DefaultClient.Do(rq)
	if err != nil {
		o.t.Fatalf("%s: %v\n%s", path, err, o.log)
	}
	defer rsp.Body.Close()
	got, err := io.ReadAll(rsp.Body)
	if err != nil || rsp.StatusCode != http.StatusOK {
		o.t.Fatalf("%s: %s, %v\n%s\n%s", path, rsp.Status, err, got, o.log)
	}
	if answer != nil {
		if err := json.Unmarshal(got, answer); err != nil {
			o.t.Fatalf("%s: %v\n%s", path, err, got)
		}
	}
}

// holds returns Orthanc's ids of the instances that it has.
func (o *orthanc) holds() (ids []string) {
	o.t.Helper()
	o.call(http.MethodGet, "/instances", nil, &ids)
	return ids
}

// study is ten instances of a real series that DCMTK, and so Orthanc, sends as
// they are in the files (see TestRealSeries).
func study(t *testing.T) []*realFile {
	t.Helper()
	folder := filepath.Join(dicomDir(t), "series", "mr-ge-epi-150")
	files, _ := readSeries(t, folder)
	return files[:10]
}

// fill gives Orthanc the files.
func (o *orthanc) fill(files []*realFile) {
	o.t.Helper()
	for _, f := range files {
		o.call(http.MethodPost, "/instances", f.whole, nil)
	}
}

// TestOrthancStores: Orthanc sends us a study by C-STORE.
func TestOrthancStores(t *testing.T) {
	t.Parallel()
	node := serveQuiet(t)
	o := startOrthanc(t, node)
	files := study(t)
	o.fill(files)
	o.call(http.MethodPost, "/modalities/cigogne/echo", map[string]any{}, nil)
	var answer struct{ InstancesCount, FailedInstancesCount int }
	o.call(http.MethodPost, "/modalities/cigogne/store", map[string]any{"Resources": o.holds(), "Synchronous": true}, &answer)
	if answer.InstancesCount != 10 || answer.FailedInstancesCount != 0 {
		t.Errorf("Orthanc says %+v", answer)
	}
	allComeBack(t, node, files)
}

// TestOrthancStows: Orthanc sends us a study as a STOW-RS client.
func TestOrthancStows(t *testing.T) {
	t.Parallel()
	node := serveQuiet(t)
	o := startOrthanc(t, node)
	files := study(t)
	o.fill(files)
	o.call(http.MethodPost, "/dicom-web/servers/cigogne/stow", map[string]any{"Resources": o.holds(), "Synchronous": true}, nil)
	allComeBack(t, node, files)
}

// TestOrthancRetrieves: Orthanc searches us and retrieves a study from us as
// a QIDO-RS and WADO-RS client, from the journal and then from packs.
func TestOrthancRetrieves(t *testing.T) {
	t.Parallel()
	node := serveQuiet(t, "--settle", "50ms")
	files := study(t)
	var bodies [][]byte
	for _, f := range files {
		bodies = append(bodies, f.whole)
	}
	uid := files[0].key.StudyInstanceUID
	if status, _, err := stow(t.Context(), node.web, bodies...); err != nil || status != http.StatusOK {
		t.Fatalf("status %d, %v", status, err)
	}
	for range 2 {
		o := startOrthanc(t, node)
		var found []map[string]struct{ Value any }
		o.call(http.MethodPost, "/dicom-web/servers/cigogne/qido", map[string]any{
			"Uri": "/studies", "Arguments": map[string]string{"StudyInstanceUID": uid, "00080020": "19000101-"},
		}, &found)
		if len(found) != 1 || found[0]["0020000D"].Value != uid {
			t.Errorf("Orthanc finds %v", found)
		}
		o.call(http.MethodPost, "/dicom-web/servers/cigogne/retrieve", map[string]any{
			"Resources": []map[string]string{{"Study": uid}}, "Synchronous": true,
		}, nil)
		o.has(files)
		node.archived()
	}
}

// has fails unless Orthanc has the files' Data Sets, bit for bit.
func (o *orthanc) has(files []*realFile) {
	o.t.Helper()
	want := map[string][]byte{}
	for _, f := range files {
		want[f.key.SOPInstanceUID] = f.dataSet
	}
	for _, id := range o.holds() {
		meta, dataSet := splitFile(ask(o.t, o.web+"/instances/"+id+"/file", "*/*").body)
		if !bytes.Equal(dataSet, want[meta[0x03]]) {
			o.t.Errorf("instance %s is not what was stored", meta[0x03])
		}
		delete(want, meta[0x03])
	}
	if len(want) > 0 {
		o.t.Errorf("Orthanc lacks %d instances", len(want))
	}
}

// TestWeSendToOrthanc: our SCU sends to Orthanc, which grants no asynchronous
// operations and announces PDUs of 16 KiB.
func TestWeSendToOrthanc(t *testing.T) {
	t.Parallel()
	o := startOrthanc(t, serveQuiet(t))
	awaitPort(t, o.dicom)
	files := study(t)
	a, err := dimse.Dial(t.Context(), "127.0.0.1:"+o.dicom, dimse.SCUConfig{
		CalledAETitle: "ORTHANC", AsyncWindow: 8,
		Contexts: []dimse.ProposedContext{{AbstractSyntax: files[0].class, TransferSyntaxes: []string{files[0].syntax}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Abort()
	for _, f := range files {
		status, err := a.Store(t.Context(), dimse.StoreRequest{
			SOPClassUID: f.class, SOPInstanceUID: f.sop, TransferSyntaxUID: f.syntax, DataSet: bytes.NewReader(f.dataSet),
		})
		if err != nil || status != dimse.StatusSuccess {
			t.Errorf("%s: status %v, %v", f.name, status, err)
		}
	}
	if err := a.Release(t.Context()); err != nil {
		t.Error(err)
	}
	o.has(files)
}
