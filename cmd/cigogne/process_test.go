package main

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/storage/archive/archivetest/s3test"
)

// The tests of this package run the program the way its users do: this test
// binary, called again with asProgram set, is cigogne.
const asProgram = "CIGOGNE_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Unsetenv(asProgram)
		main()
	}
	// Nodes and commands find them, and ask no archive but the tests' own.
	os.Setenv("AWS_ACCESS_KEY_ID", s3test.AccessKey)
	os.Setenv("AWS_SECRET_ACCESS_KEY", s3test.SecretKey)
	// Tests wait for processes more than they work; a -parallel of the command
	// line is read later.
	flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0)))
	os.Exit(m.Run())
}

// command is cigogne with args, not started yet.
func command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

// process is a running `cigogne serve`.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	dimse string // address of the DIMSE listener
	web   string // URL of the HTTP listener
	log   *lockedBuffer
	done  chan struct{}
}

// serve starts a node on free ports over dir and returns when it listens.
func serve(t *testing.T, dir string, flags ...string) *process {
	t.Helper()
	p, err := tryServe(t, dir, flags...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func tryServe(t *testing.T, dir string, flags ...string) (*process, error) {
	return listening(t, command(context.Background(), serveArgs(dir, flags)...))
}

func serveArgs(dir string, flags []string) []string {
	return append([]string{"serve", "--data-dir", dir, "--dimse", "127.0.0.1:0", "--http", "127.0.0.1:0"}, flags...)
}

// hangs is after how long what does not come is said to hang: a machine that has
// much else to do takes long for what takes a moment.
const hangs = 4 * time.Minute

// listening starts a node and returns when it listens.
func listening(t *testing.T, cmd *exec.Cmd) (*process, error) {
	p := &process{t: t, cmd: cmd, log: &lockedBuffer{}, done: make(chan struct{})}
	p.cmd.Stderr = p.log
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	t.Cleanup(p.kill)
	late := time.AfterFunc(hangs, func() { p.cmd.Process.Kill() })
	defer late.Stop()
	address := regexp.MustCompile(`(?m)^\s+(DIMSE|HTTP)\s+(?:http://)?(127\.0\.0\.1:\d+)`)
	scanner := bufio.NewScanner(out)
	for scanner.Scan() && p.web == "" {
		if m := address.FindStringSubmatch(scanner.Text()); m != nil && m[1] == "DIMSE" {
			p.dimse = m[2]
		} else if m != nil {
			p.web = "http://" + m[2]
		}
	}
	go func() {
		defer close(p.done)
		for scanner.Scan() { // the rest of the greeting
		}
		p.cmd.Wait() // killed, mostly; stop looks at the state
	}()
	if p.web == "" {
		<-p.done
		return nil, fmt.Errorf("cigogne did not start: %s", p.log)
	}
	return p, nil
}

// kill ends the process the hard way, and fails the test when the race detector
// found something in it.
func (p *process) kill() {
	p.cmd.Process.Kill() // it may have ended
	<-p.done
	if log := p.log.String(); strings.Contains(log, "WARNING: DATA RACE") {
		p.t.Errorf("a data race in cigogne\n%s", log)
	}
}

// stop ends the process the way an operator does, and fails the test unless
// it ends well.
func (p *process) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	select {
	case <-p.done:
	case <-time.After(hangs):
		p.t.Fatalf("cigogne does not stop\n%s", p.log)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != exitOK {
		p.t.Fatalf("cigogne ended with %d\n%s", code, p.log)
	}
}

// ready waits until /readyz says so.
func (p *process) ready() {
	p.t.Helper()
	p.eventually("ready", func() bool {
		r, err := http.Get(p.web + "/readyz")
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
}

// eventually asks until the answer is yes, and fails the test when that hangs.
func (p *process) eventually(what string, ask func() bool) {
	p.t.Helper()
	deadline := time.After(hangs)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ask() {
		select {
		case <-tick.C:
		case <-deadline:
			p.t.Fatalf("not %s in time\n%s", what, p.log)
		}
	}
}

// rss is the memory that is resident now, and the most that ever was, in bytes.
func (p *process) rss() (now, most int64) {
	p.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			now = kib << 10
		}
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			most = kib << 10
		}
	}
	return now, most
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// dicomDir is where the real DICOM files are; the test is skipped where they
// are not.
func dicomDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("CIGOGNE_DICOM_DIR")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "dicom")
	}
	if _, err := os.Stat(filepath.Join(dir, "MANIFEST.tsv")); err != nil {
		t.Skipf("no real DICOM files: %v", err)
	}
	return dir
}

// freeAddr is an address at which nobody listens now, and which is given to
// nobody who asks for any port: a node that is down for a while finds it free.
func freeAddr(t *testing.T) string {
	t.Helper()
	const from, to = 20000, 32768 // where Linux begins to choose
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(from+rand.IntN(to-from)))
		if err != nil {
			continue
		}
		defer l.Close()
		return l.Addr().String()
	}
	t.Fatal("no free port")
	return ""
}

// freePort is the port of a freeAddr.
func freePort(t *testing.T) string {
	t.Helper()
	_, port, err := net.SplitHostPort(freeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// tool is the path of a program that the test needs; the test is skipped
// where it is not installed.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	return path
}
