package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// files writes a study into a folder of files.
func files(t *testing.T, o dicomtest.Options) (string, dicomtest.Study) {
	t.Helper()
	dir := t.TempDir()
	study := dicomtest.NewStudy(o)
	for _, in := range study.Instances {
		if err := os.WriteFile(filepath.Join(dir, in.SOPInstanceUID+".dcm"), in.Part10(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, study
}

// event is a line of --json.
type event struct {
	Event, File, Instance, Why             string
	Stored, Present, Aside, Refused        int
	Ignored, Left, Pulled                  int
	Items, Bytes, TotalItems, SkippedItems int64
}

// transfer runs a push or a pull against a gateway to its end, or until enough
// says so: then it is killed.
func transfer(t *testing.T, web string, enough func(e event) bool, args ...string) (code int, events []event, said string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hangs)
	defer cancel()
	cmd := command(ctx, append(args, "--json", "--gateway", web)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Errorf("%s: %v", lines.Bytes(), err)
		}
		events = append(events, e)
		if enough != nil && enough(e) {
			cmd.Process.Kill()
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), events, errs.String()
}

// result is the event that ends a transfer.
func result(t *testing.T, events []event) event {
	t.Helper()
	for _, e := range events {
		if e.Event == "result" {
			return e
		}
	}
	t.Fatalf("no result among %d events", len(events))
	return event{}
}

func count(events []event, name string) (n int) {
	for _, e := range events {
		if e.Event == name {
			n++
		}
	}
	return n
}

// gate stands in front of a node and lets so many of the requests through that
// it is about; those after them hang until it is opened.
type gate struct {
	web    string
	about  func(*http.Request) bool
	left   atomic.Int64
	opened chan struct{}
}

func newGate(t *testing.T, node *process, about func(*http.Request) bool, requests int64) *gate {
	t.Helper()
	target, err := url.Parse(node.web)
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{about: about, opened: make(chan struct{})}
	g.left.Store(requests)
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ErrorLog = log.New(io.Discard, "", 0) // clients are killed
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if about(r) && g.left.Add(-1) < 0 {
			select {
			case <-g.opened:
			case <-r.Context().Done():
				return
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	g.web = server.URL
	return g
}

func (g *gate) open() { close(g.opened) }

// TestPushAndPullSurviveKills: a push that is killed goes on where it was, and
// sends nothing that was durable; so does a pull. What comes out is what went
// in, byte for byte.
func TestPushAndPullSurviveKills(t *testing.T) {
	t.Parallel()
	n := 120
	if testing.Short() {
		n = 48
	}
	dir, study := files(t, dicomtest.Options{Seed: 8100, Modality: "CT", Series: 2, Instances: n / 2})
	node := serve(t, t.TempDir(), "--settle", "1h", "--log-level", "error")
	pushArgs := []string{"push", "--connections", "2", "--request-size", "1MiB", dir}

	// The gate keeps it from coming to its end before it is killed.
	door := newGate(t, node, func(r *http.Request) bool { return r.Method == http.MethodPost }, int64(n/8))
	defer door.open()
	stored := 0
	code, events, said := transfer(t, door.web, func(e event) bool {
		if e.Event == "stored" {
			stored++
		}
		return stored >= n/8
	}, pushArgs...)
	if code != -1 {
		t.Fatalf("it was not killed but ended with %d after %d were stored\n%s", code, stored, said)
	}
	durable := count(events, "stored")
	code, events, said = transfer(t, node.web, nil, pushArgs...)
	r := result(t, events)
	if code != exitOK || r.Stored+r.Present != n || r.Present < durable || r.Stored == 0 || r.Left != 0 {
		t.Fatalf("exit code %d, %+v after %d were said to be durable\n%s", code, r, durable, said)
	}
	node.eventually("as many are held as were sent", func() bool {
		return metric(t, node, `cigogne_index_held{kind="instances"}`) == strconv.Itoa(n)
	})
	if _, events, _ = transfer(t, node.web, nil, pushArgs...); result(t, events).Present != n {
		t.Errorf("pushed again: %+v", result(t, events))
	}

	for _, to := range []string{filepath.Join(t.TempDir(), "out"), filepath.Join(t.TempDir(), "study.zip")} {
		pullArgs := []string{"pull", "--connections", "2", "--study", study.StudyInstanceUID, "-o", to}
		door := newGate(t, node, func(r *http.Request) bool { return r.Header.Get("Range") != "" }, 3)
		defer door.open()
		pulled := 0
		code, _, said = transfer(t, door.web, func(e event) bool {
			if e.Event == "pulled" {
				pulled++
			}
			return pulled >= n/16
		}, pullArgs...)
		if code != -1 {
			t.Fatalf("it was not killed but ended with %d after %d\n%s", code, pulled, said)
		}
		code, events, said = transfer(t, node.web, nil, pullArgs...)
		r := result(t, events)
		if code != exitOK || r.Pulled+r.Present != n || r.Present < pulled || r.Left != 0 {
			t.Fatalf("exit code %d, %+v after %d were said to be pulled\n%s", code, r, pulled, said)
		}
		same(t, to, study)
	}
}

// same compares what was pulled with the study.
func same(t *testing.T, at string, study dicomtest.Study) {
	t.Helper()
	read := func(in dicomtest.Instance) ([]byte, error) {
		return os.ReadFile(filepath.Join(at, in.StudyInstanceUID, in.SeriesInstanceUID, in.SOPInstanceUID+".dcm"))
	}
	if strings.HasSuffix(at, ".zip") {
		unzipped := t.TempDir()
		if out, err := exec.Command(tool(t, "unzip"), "-q", at, "-d", filepath.Join(unzipped, study.StudyInstanceUID)).CombinedOutput(); err != nil {
			t.Fatalf("unzip: %v\n%s", err, out)
		}
		at = unzipped
	}
	for _, in := range study.Instances {
		if got, err := read(in); err != nil || !bytes.Equal(got, in.Part10()) {
			t.Errorf("%s: %d bytes, %v", in.SOPInstanceUID, len(got), err)
		}
	}
	all := 0
	filepath.WalkDir(at, func(_ string, d os.DirEntry, _ error) error {
		if d.Type().IsRegular() {
			all++
		}
		return nil
	})
	if all != len(study.Instances) {
		t.Errorf("%d files for %d instances", all, len(study.Instances))
	}
}

// TestTransfersSurviveARestart: the node is killed under a push and under a
// pull, and comes back on the same port; both go on by themselves.
func TestTransfersSurviveARestart(t *testing.T) {
	t.Parallel()
	const n = 80
	src, study := files(t, dicomtest.Options{Seed: 8200, Modality: "CT", Instances: n})
	dir := t.TempDir()
	node := serve(t, dir, "--settle", "1h", "--log-level", "error")
	web := strings.TrimPrefix(node.web, "http://")
	restart := func() {
		node.kill()
		back, err := tryServe(t, dir, "--http", web, "--settle", "1h", "--log-level", "error")
		if err != nil {
			t.Error(err)
			return
		}
		node = back
	}
	killAfter := func(name string, after int) func(event) bool {
		seen := 0
		return func(e event) bool {
			if e.Event == name {
				if seen++; seen == after {
					restart()
				}
			}
			return false
		}
	}
	code, events, said := transfer(t, node.web, killAfter("stored", n/4), "push", "--connections", "2", "--request-size", "1MiB", src)
	if r := result(t, events); code != exitOK || r.Stored+r.Present != n || count(events, "again") == 0 {
		t.Fatalf("exit code %d, %+v, %d tries again\n%s", code, r, count(events, "again"), said)
	}
	node.eventually("as many are held as were sent", func() bool {
		return metric(t, node, `cigogne_index_held{kind="instances"}`) == strconv.Itoa(n)
	})
	to := filepath.Join(t.TempDir(), "out")
	code, events, said = transfer(t, node.web, killAfter("pulled", n/4), "pull", "--connections", "2", "--study", study.StudyInstanceUID, "-o", to)
	if r := result(t, events); code != exitOK || r.Pulled != n {
		t.Fatalf("exit code %d, %+v\n%s", code, r, said)
	}
	same(t, to, study)
}

// TestDamageOnTheLine: a byte that flips on its way is found in both
// directions, and what counts as done is whole.
func TestDamageOnTheLine(t *testing.T) {
	t.Parallel()
	src, study := files(t, dicomtest.Options{Seed: 8300, Modality: "CT", Instances: 12})
	node := serve(t, t.TempDir(), "--settle", "1h", "--log-level", "error")
	target, err := url.Parse(node.web)
	if err != nil {
		t.Fatal(err)
	}
	var flips atomic.Int64
	proxy := httputil.NewSingleHostReverseProxy(target)
	flip := func(body io.ReadCloser) io.ReadCloser {
		if flips.Add(1) > 1 {
			return body
		}
		return struct {
			io.Reader
			io.Closer
		}{&flipping{Reader: body, at: 300_000}, body}
	}
	proxy.ModifyResponse = func(r *http.Response) error {
		if r.Header.Get("Content-Type") == "application/zip" {
			r.Body = flip(r.Body)
		}
		return nil
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			r.Body = flip(r.Body)
		}
		proxy.ServeHTTP(w, r)
	})}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	web := "http://" + listener.Addr().String()

	code, events, said := transfer(t, web, nil, "push", "--connections", "1", src)
	// The node has the damaged one under its name now, and what was sent again
	// stands aside: nobody overwrites, and a person is told.
	if r := result(t, events); code != exitOK || r.Stored != 11 || r.Aside != 1 {
		t.Errorf("push: exit code %d, %+v\n%s", code, r, said)
	}
	for _, e := range events {
		if e.Event == "again" && !strings.Contains(e.Why, "other bytes") {
			t.Errorf("tried again because %s", e.Why)
		}
	}
	flips.Store(0)
	to := filepath.Join(t.TempDir(), "out")
	code, events, said = transfer(t, web, nil, "pull", "--study", study.StudyInstanceUID, "-o", to)
	if r := result(t, events); code != exitOK || r.Pulled != 12 || count(events, "damaged") != 1 {
		t.Errorf("pull: exit code %d, %+v, %d damaged\n%s", code, r, count(events, "damaged"), said)
	}
}

// flipping changes the byte at a position that passes.
type flipping struct {
	io.Reader
	at int
}

func (f *flipping) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if f.at >= 0 && f.at < n {
		p[f.at] ^= 0x10
	}
	f.at -= n
	return n, err
}

// TestPushOfRealFiles: what real media and real devices' files are like.
func TestPushOfRealFiles(t *testing.T) {
	t.Parallel()
	real := dicomDir(t)
	node := serve(t, t.TempDir(), "--settle", "1h", "--log-level", "error")
	const media = "dicomdir/media"
	for _, name := range []string{"DICOMDIR", "DICOMDIR-implicit", "DICOMDIR-reordered"} {
		code, events, said := transfer(t, node.web, nil, "push", filepath.Join(real, media, name))
		if r := result(t, events); code != exitOK || r.Stored+r.Present != 31 {
			t.Errorf("%s: exit code %d, %+v\n%s", name, code, r, said)
		}
	}
	node.eventually("31 are held", func() bool { return metric(t, node, `cigogne_index_held{kind="instances"}`) == "31" })
	code, events, said := transfer(t, node.web, nil, "push", filepath.Join(real, "malformed"), filepath.Join(real, "modality"))
	r := result(t, events)
	if code != exitPartly || r.Refused == 0 || r.Stored == 0 || r.Left != 0 {
		t.Errorf("exit code %d, %+v\n%s", code, r, said)
	}
	named := map[string]string{}
	for _, e := range events {
		if e.Event == "refused" {
			named[filepath.Base(e.File)] = e.Why
		}
	}
	if len(named) != r.Refused || !strings.Contains(named["pydicom--MR_truncated.dcm"], "before the value does") {
		t.Errorf("%d are named of %d that were refused: %v", len(named), r.Refused, named)
	}
	code, _, said = transfer(t, node.web, nil, "push", filepath.Join(real, "malformed", "pydicom--MR_truncated.dcm"))
	if code != exitPartly || !strings.Contains(said, "1 file was refused") {
		t.Errorf("exit code %d of one that is refused: %s", code, said)
	}
}
