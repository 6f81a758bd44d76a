package main

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage/dicom"
)

// movable fills a node with files, which knows where these AE titles listen.
func movable(t *testing.T, files []*realFile, addresses map[string]string, flags ...string) *process {
	t.Helper()
	node := serve(t, t.TempDir(), append([]string{"--log-level", "warn", "--sites", committingSites(t, addresses)}, flags...)...)
	var bodies [][]byte
	for _, f := range files {
		bodies = append(bodies, f.whole)
	}
	if status, stored, err := stow(t.Context(), node.web, bodies...); err != nil || status != http.StatusOK || len(stored) != len(files) {
		t.Fatalf("%d of %d files were stored: %d, %v", len(stored), len(files), status, err)
	}
	return node
}

// TestMoveRealFiles: what movescu asks for arrives at storescp as it was
// stored, in every transfer syntax, from the journal and from packs.
func TestMoveRealFiles(t *testing.T) {
	t.Parallel()
	movescu, program := tool(t, "movescu"), tool(t, "storescp")
	files := waves(slices.DeleteFunc(realFiles(t), func(f *realFile) bool { return f.flaw != nil || !f.hasMeta }))[0]
	files = slices.DeleteFunc(files, func(f *realFile) bool { // DCMTK ends the association at odd lengths, and in Deflated Image Frame Compression
		return f.class == "" || f.syntax == "1.2.840.10008.1.2.8.1" || len(f.dataSet)%2 == 1 && !dicom.LookupTransferSyntax(f.syntax).Deflated
	})
	peer := <-startPeers(t, program, files, 1)
	node := movable(t, files, map[string]string{"DEST": "127.0.0.1:" + peer.port}, "--settle", "50ms")
	host, port := node.hostPort()
	studies := map[string]bool{}
	for _, f := range files {
		studies[f.key.StudyInstanceUID] = true
	}
	for _, from := range []string{"journal", "packs"} {
		for uid := range studies {
			if text, code, err := output(t.Context(), movescu, "-S", "-aec", "CIGOGNE", "-aem", "DEST", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID="+uid, host, port); err != nil || code != 0 {
				t.Errorf("movescu ends with %d, %v: %s", code, err, text)
			}
		}
		arrived(t, peer.in, files, from)
		node.archived()
	}
	if t.Failed() {
		t.Log(node.log)
	}
	if got := metric(t, node, `cigogne_dimse_suboperations_total{command="C-MOVE",outcome="sent"}`); got == "0" {
		t.Error("nothing is counted")
	}
}

// arrived fails unless all files lie in a folder of DCMTK's, and empties it.
func arrived(t *testing.T, dir string, files []*realFile, from string) {
	t.Helper()
	got := map[string][]byte{}
	found, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range found {
		path := filepath.Join(dir, e.Name())
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		meta, dataSet := splitFile(b)
		got[meta[0x03]+" "+meta[0x10]] = dataSet
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range files {
		want := f.dataSet
		if len(want)%2 == 1 && dicom.LookupTransferSyntax(f.syntax).Deflated {
			want = append(slices.Clone(want), 0)
		}
		switch b, ok := got[f.sop+" "+f.syntax]; {
		case !ok:
			t.Errorf("%s did not arrive from the %s", f.name, from)
		case !bytes.Equal(b, want):
			t.Errorf("%s arrived from the %s with other bytes", f.name, from)
		}
	}
}

// TestGetSeries: getscu gets a study over its own association, and what was
// retrieved by whom stands in the timeline.
func TestGetSeries(t *testing.T) {
	if testing.Short() {
		t.Skip("a series of 150")
	}
	t.Parallel()
	getscu := tool(t, "getscu")
	files := study(t)
	node := movable(t, files, nil)
	host, port := node.hostPort()
	dir := t.TempDir()
	uid := files[0].key.StudyInstanceUID
	text := mustRun(t, getscu, "-v", "-S", "-aet", "WORKSTATION", "-aec", "CIGOGNE", "+B", "-od", dir, "-k", "QueryRetrieveLevel=SERIES",
		"-k", "StudyInstanceUID="+uid, "-k", "SeriesInstanceUID="+files[0].key.SeriesInstanceUID, host, port)
	if !strings.Contains(text, "Completed Suboperations : 10") {
		t.Errorf("getscu says %s", text)
	}
	arrived(t, dir, files, "journal")
	node.eventually("recorded", func() bool {
		steps := timelineOf(t, node, uid)
		return strings.Contains(steps, "STEP_KIND_RETRIEVED") && strings.Contains(steps, "WORKSTATION")
	})
}

// TestGetBigEndian: getscu gets what is stored in Explicit VR Big Endian when it
// proposes that first: no instance is given in another transfer syntax than its
// own.
func TestGetBigEndian(t *testing.T) {
	t.Parallel()
	getscu := tool(t, "getscu")
	root := dicomDir(t)
	file, err := readReal(root, filepath.Join(root, "transfer-syntax", "pydicom--MR_small_bigendian.dcm"))
	if err != nil {
		t.Fatal(err)
	}
	files := []*realFile{file}
	node := movable(t, files, nil)
	host, port := node.hostPort()
	dir := t.TempDir()
	text := mustRun(t, getscu, "-v", "-S", "-aec", "CIGOGNE", "+xb", "+B", "-od", dir, "-k", "QueryRetrieveLevel=STUDY",
		"-k", "StudyInstanceUID="+file.key.StudyInstanceUID, host, port)
	if !strings.Contains(text, "Completed Suboperations : 1") {
		t.Errorf("getscu says %s", text)
	}
	arrived(t, dir, files, "journal")
}

// TestOrthancMoves: Orthanc finds a study here and has it sent to itself.
func TestOrthancMoves(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	files := study(t)
	node := movable(t, files, map[string]string{"ORTHANC": "127.0.0.1:" + port})
	o := startOrthancAt(t, node, port)
	var found struct{ ID string }
	o.call(http.MethodPost, "/modalities/cigogne/query", map[string]any{
		"Level": "Study", "Query": map[string]string{"StudyInstanceUID": files[0].key.StudyInstanceUID},
	}, &found)
	o.call(http.MethodPost, "/queries/"+found.ID+"/retrieve", map[string]any{"TargetAet": "ORTHANC", "Synchronous": true}, nil)
	o.has(files)
}
