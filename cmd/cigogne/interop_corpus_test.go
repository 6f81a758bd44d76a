package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

var update = flag.Bool("update", false, "write the golden files anew")

// realFile is one file of the collection.
type realFile struct {
	name, path         string // name is the path below the collection
	whole, dataSet     []byte
	class, sop, syntax string
	key                storage.InstanceKey
	hasMeta            bool  // File Meta Information names a transfer syntax
	flaw               error // why no archive could file it; nil for most
}

// realFiles reads the loose files of the collection. With -short it is every
// fifth.
func realFiles(t *testing.T) []*realFile {
	t.Helper()
	dir := dicomDir(t)
	var files []*realFile
	for _, folder := range []string{"charset", "dicomdir", "malformed", "modality", "transfer-syntax"} {
		err := filepath.WalkDir(filepath.Join(dir, folder), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			f, err := readReal(dir, path)
			files = append(files, f)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if testing.Short() {
		n := 0
		files = slices.DeleteFunc(files, func(*realFile) bool { n++; return n%5 != 0 })
	}
	return files
}

func readReal(dir, path string) (*realFile, error) {
	name, err := filepath.Rel(dir, path)
	if err != nil {
		return nil, err
	}
	f := &realFile{name: filepath.ToSlash(name), path: path}
	if f.whole, err = os.ReadFile(path); err != nil {
		return nil, err
	}
	var meta map[uint16]string
	meta, f.dataSet = splitFile(f.whole)
	f.class, f.sop, f.syntax = meta[0x02], meta[0x03], meta[0x10]
	f.hasMeta = f.syntax != ""
	f.identify()
	return f, nil
}

// splitFile parts File Meta Information from Data Set. It is a reader of its
// own, so that the product's is not held against itself.
func splitFile(file []byte) (meta map[uint16]string, dataSet []byte) {
	meta, dataSet = map[uint16]string{}, file
	if len(file) > 132 && string(file[128:132]) == "DICM" {
		dataSet = file[132:]
	}
	for len(dataSet) >= 12 && dataSet[0] == 2 && dataSet[1] == 0 {
		header, length := 8, int(binary.LittleEndian.Uint16(dataSet[6:]))
		if vr := string(dataSet[4:6]); vr == "OB" || vr == "UN" {
			header, length = 12, int(binary.LittleEndian.Uint32(dataSet[8:]))
		}
		value := dataSet[header : header+length]
		meta[binary.LittleEndian.Uint16(dataSet[2:])] = strings.Trim(string(value), " \x00")
		dataSet = dataSet[header+length:]
	}
	return meta, dataSet
}

// identify finds the names by which the instance is asked for, or its flaw.
func (f *realFile) identify() {
	if !f.hasMeta {
		head, err := dicom.ReadPart10(bufio.NewReader(bytes.NewReader(f.whole)))
		if err != nil {
			f.flaw = err
			return
		}
		f.syntax = head.Meta.TransferSyntaxUID
	}
	scanner := dicom.NewScanner(f.syntax, dicom.ScanLimits{})
	if _, f.flaw = scanner.Write(f.dataSet); f.flaw != nil {
		scanner.Abort()
		return
	}
	found, err := scanner.Close()
	if f.flaw = err; err != nil {
		return
	}
	f.key = storage.InstanceKey{
		StudyInstanceUID: found.StudyInstanceUID, SeriesInstanceUID: found.SeriesInstanceUID, SOPInstanceUID: found.SOPInstanceUID,
	}
	f.flaw = f.key.Validate()
	if f.class == "" {
		f.class = found.SOPClassUID
	}
	f.sop = found.SOPInstanceUID // some files say another in File Meta Information
	if f.flaw == nil && f.class != found.SOPClassUID {
		f.flaw = fmt.Errorf("%w: File Meta Information and Data Set name two SOP classes", storage.ErrMismatch)
	}
}

// waves groups files so that no group has two under one name: the collection
// has one image in many encodings, which are conflicts of each other.
func waves(files []*realFile) [][]*realFile {
	var groups [][]*realFile
	times := map[string]int{}
	for _, f := range files {
		n := times[f.key.SOPInstanceUID]
		if f.flaw != nil {
			n = 0
		} else {
			times[f.key.SOPInstanceUID]++
		}
		if n == len(groups) {
			groups = append(groups, nil)
		}
		groups[n] = append(groups[n], f)
	}
	return groups
}

// stowed is a node with files in it.
type stowed struct {
	*process
	files []*realFile
}

// stowFiles fills nodes by STOW-RS with all files that can be stored so.
func stowFiles(t *testing.T, files []*realFile, flags ...string) []stowed {
	t.Helper()
	var nodes []stowed
	for _, wave := range waves(slices.DeleteFunc(files, func(f *realFile) bool { return f.flaw != nil || !f.hasMeta })) {
		node := serve(t, t.TempDir(), append([]string{"--log-level", "warn"}, flags...)...)
		nodes = append(nodes, stowed{node, wave})
		var bodies [][]byte
		for _, f := range wave {
			bodies = append(bodies, f.whole)
		}
		status, stored, err := stow(t.Context(), node.web, bodies...)
		if err != nil || status != http.StatusOK || len(stored) != len(wave) {
			t.Fatalf("%d of %d files were stored: %d, %v", len(stored), len(wave), status, err)
		}
	}
	return nodes
}

// archived waits until nothing is left in the journal only.
func (p *process) archived() {
	p.t.Helper()
	// What was answered may not be in the index yet; a search waits for it.
	if _, err := search(p.t.Context(), p.web, "studies", url.Values{"limit": {"1"}}); err != nil && !errors.Is(err, storage.ErrNotFound) {
		p.t.Fatal(err)
	}
	p.eventually("archived", func() bool { return metric(p.t, p, `cigogne_index_held{kind="live"}`) == "0" })
}

// retrieve returns an instance as it is stored, a PS3.10 file.
func retrieve(ctx context.Context, web string, k storage.InstanceKey) ([]byte, error) {
	body, err := get(ctx, instanceURL(web, k), "application/dicom")
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(body)
	return b.Bytes(), err
}

// output runs a tool that ends by itself; its exit code is no error.
func output(ctx context.Context, name string, args ...string) (text string, code int, err error) {
	ctx, cancel := context.WithTimeout(ctx, hangs)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		return string(out), exit.ExitCode(), nil
	}
	return string(out), 0, err
}

// mustRun runs a tool that must succeed and returns what it says.
func mustRun(t *testing.T, name string, args ...string) string {
	t.Helper()
	text, code, err := output(t.Context(), name, args...)
	if err != nil || code != 0 {
		t.Fatalf("%s %.300q: exit code %d, %v\n%s", name, args, code, err, text)
	}
	return text
}

// golden compares lines with a golden file. With -short only those lines that
// are there must be in it.
func golden(t *testing.T, name string, lines []string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	for _, line := range lines {
		if !slices.Contains(want, line) {
			t.Errorf("not in %s (go test -update writes it): %s", path, line)
		}
	}
	if !testing.Short() && len(lines) != len(want) {
		t.Errorf("%d lines, %s has %d", len(lines), path, len(want))
	}
}

// hostPort parts an address for DCMTK.
func (p *process) hostPort() (host, port string) {
	host, port, _ = strings.Cut(p.dimse, ":")
	return host, port
}

// answered is an answer of HTTP, whatever its status.
type answered struct {
	status int
	header http.Header
	body   []byte
}

// ask sends a GET.
func ask(t *testing.T, url, accept string) answered {
	t.Helper()
	rq, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	rq.Header.Set("Accept", accept)
	rsp, err := http.DefaultClient.Do(rq)
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	body, err := io.ReadAll(rsp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answered{rsp.StatusCode, rsp.Header, body}
}

// start runs a program until the test ends.
func start(t *testing.T, name string, args ...string) *lockedBuffer {
	t.Helper()
	var said lockedBuffer
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() // it may have ended
		cmd.Wait()
	})
	return &said
}
