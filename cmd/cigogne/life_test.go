package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// TestObserved: what scripts and scrapers ask for.
func TestObserved(t *testing.T) {
	t.Parallel()
	node := serve(t, t.TempDir(), "--log-level", "error")
	node.ready()
	if ready, why := checks(t, node); !ready || len(why) > 0 {
		t.Errorf("/readyz: %t, %v", ready, why)
	}
	seen := map[string]bool{}
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/", "/dicom-web/studies", "/dicom-web/nonsense", "/nonsense"} {
		answer, err := http.Get(node.web + path)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		id := answer.Header.Get("X-Request-Id")
		if id == "" || seen[id] {
			t.Errorf("%s has the X-Request-Id %q", path, id)
		}
		seen[id] = true
		if path == "/healthz" && answer.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", path, answer.Status)
		}
	}
	in := dicomtest.NewStudy(dicomtest.Options{Seed: 1300, Modality: "CR", Instances: 1}).Instances[0]
	a, err := associate(t.Context(), node.dimse, 0, in)
	if err != nil {
		t.Fatal(err)
	}
	if err := cstore(t.Context(), a, in, bytes.NewReader(in.DataSet())); err != nil {
		t.Fatal(err)
	}
	if err := a.Release(t.Context()); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]string{
		"cigogne_journal_durable_instances_total": "1", `cigogne_index_failing`: "0",
		`cigogne_dimse_operation_duration_seconds_count{command="C-STORE",status="0000"}`: "1",
		`cigogne_dimse_received_bytes_total`:                                              strconv.Itoa(len(in.DataSet())),
	} {
		if got := metric(t, node, name); got != want {
			t.Errorf("%s is %s, not %s", name, got, want)
		}
	}
	node.stop()
}

// TestStopLetsUploadsFinish: after SIGTERM an upload that is under way is
// finished and acknowledged, nothing new is taken, and the node ends well.
func TestStopLetsUploadsFinish(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	node := serve(t, dir, "--grace", "20s", "--log-level", "error")
	in := dicomtest.NewStudy(dicomtest.Options{Seed: 1400, Instances: 2})
	l := newLedger()
	r, w := io.Pipe()
	b, file := l.send(in.Instances[0]), in.Instances[1].Part10()
	l.send(in.Instances[1])
	a, err := associate(t.Context(), node.dimse, 0, in.Instances[0])
	if err != nil {
		t.Fatal(err)
	}
	stored, uploaded := make(chan error, 1), make(chan error, 1)
	dr, dw := io.Pipe()
	go func() { stored <- cstore(t.Context(), a, in.Instances[0], dr) }()
	// The body is read only when the node has asked for it: before, the
	// connection could be one that nobody has accepted yet.
	asked := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute}}
	go func() {
		rq, err := http.NewRequestWithContext(t.Context(), http.MethodPost, node.web+"/dicom-web/studies", r)
		if err == nil {
			rq.Header.Set("Content-Type", "application/dicom")
			rq.Header.Set("Expect", "100-continue")
			var answer *http.Response
			if answer, err = asked.Do(rq); err == nil {
				answer.Body.Close()
				if answer.StatusCode != http.StatusOK {
					err = fmt.Errorf("%s", answer.Status)
				}
			}
		}
		uploaded <- err
	}()
	for _, half := range []struct {
		to   io.Writer
		what []byte
	}{{w, file[:len(file)/2]}, {dw, b[:len(b)/2]}} {
		if _, err := half.to.Write(half.what); err != nil {
			t.Fatal(err)
		}
	}
	if err := node.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	node.eventually("closed to new connections", func() bool {
		for _, addr := range []string{node.dimse, strings.TrimPrefix(node.web, "http://")} {
			if c, err := net.Dial("tcp", addr); err == nil {
				c.Close()
				return false
			}
		}
		return true
	})
	w.Write(file[len(file)/2:]) // an error is seen by who reads
	w.Close()
	dw.Write(b[len(b)/2:]) // as above
	dw.Close()
	if err := <-uploaded; err != nil {
		t.Errorf("STOW-RS: %v", err)
	}
	if err := <-stored; err != nil {
		t.Errorf("C-STORE: %v", err)
	}
	if err := a.Release(t.Context()); err != nil {
		t.Errorf("A-RELEASE: %v", err)
	}
	node.stop()
	node = serve(t, dir, "--log-level", "error")
	checkSome(t, node, l.sent, len(l.sent), nil)
	node.stop()
	fsck(t, dir)
}

// TestCannotServe: what keeps a node from starting is one line and an exit code.
func TestCannotServe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	node := serve(t, dir, "--log-level", "error")
	web := strings.TrimPrefix(node.web, "http://")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"the same data directory":  {"--data-dir", dir},
		"a DIMSE port in use":      {"--data-dir", t.TempDir(), "--dimse", node.dimse},
		"an HTTP port in use":      {"--data-dir", t.TempDir(), "--http", web},
		"a file as data directory": {"--data-dir", file},
	} {
		args = append([]string{"serve", "--log-level", "error", "--dimse", "127.0.0.1:0", "--http", "127.0.0.1:0"}, args...)
		var errs bytes.Buffer
		cmd := command(t.Context(), args...)
		cmd.Stderr = &errs
		err := cmd.Run()
		if code := cmd.ProcessState.ExitCode(); err == nil || code != exitFailure && code != exitUnavailable {
			t.Errorf("%s: exit code %d", name, code)
		}
		if n := strings.Count(errs.String(), "\n"); n != 1 || !strings.HasPrefix(errs.String(), "cigogne: ") {
			t.Errorf("%s: %d lines:\n%s", name, n, &errs)
		}
		t.Logf("%s: %s", name, strings.TrimSpace(errs.String()))
	}
	if err := bystand(t.Context(), node); err != nil { // the first one is none the worse
		t.Error(err)
	}
	node.stop()
}

// TestSettingsOfProcess: file, environment and command line reach the running
// node, the latter being stronger.
func TestSettingsOfProcess(t *testing.T) {
	config := filepath.Join(t.TempDir(), "cigogne.yaml")
	archive := filepath.Join(t.TempDir(), "archive")
	yaml := "ae-title: FILE\nsettle: 20ms\nlog-level: error\narchive: [\"dir://" + archive + "\"]\n"
	if err := os.WriteFile(config, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CIGOGNE_AE_TITLE", "CIGOGNE") // the test clients call it so
	t.Setenv("CIGOGNE_CALLED_AE", "NOBODY")
	t.Setenv("CIGOGNE_LOG_LEVEL", "debug")
	node := serve(t, t.TempDir(), "--config", config, "--log-level", "info")
	if err := bystand(t.Context(), node); err != nil {
		t.Errorf("the AE title of the environment is not answered to: %v", err)
	}
	l := newLedger()
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 1500, Modality: "CR", Instances: 1})
	if !pushSTOW(t.Context(), node, l, study.Instances) {
		t.Fatal("push failed")
	}
	node.eventually("archived", func() bool { return metric(t, node, `cigogne_index_held{kind="packs"}`) == "1" })
	packs, err := filepath.Glob(filepath.Join(archive, "studies", "*", "*", "*.zip"))
	if err != nil || len(packs) != 1 {
		t.Errorf("%d packs in the archive of the file, %v", len(packs), err)
	}
	if log := node.log.String(); !strings.Contains(log, "level=INFO") || strings.Contains(log, "level=DEBUG") {
		t.Errorf("the log level is not that of the command line:\n%s", log)
	}
	node.stop()
}
