// Package s3test gives tests a real S3 server, versitygw in a process of its
// own, and a proxy that does to its clients what networks and servers do.
package s3test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The server's only account and its bucket.
const (
	AccessKey = "cigogne"
	SecretKey = "only-for-tests"
	Bucket    = "archive"
	Region    = "us-east-1"
)

// Server is a versitygw on a folder of the test's.
type Server struct {
	// Address is host:port, and stays the same when the server is restarted.
	Address string
	// Dir is where the objects lie as files, below a folder for the bucket.
	Dir string

	program string
	process *exec.Cmd
}

// Start starts a server and ends it with the test; without versitygw the test
// is skipped.
func Start(t testing.TB) *Server {
	t.Helper()
	program := find()
	if program == "" {
		t.Skip("versitygw is missing: go install github.com/versity/versitygw/cmd/versitygw@v1.8.0")
	}
	s := &Server{Address: freeAddress(t), Dir: t.TempDir(), program: program}
	if err := os.Mkdir(filepath.Join(s.Dir, Bucket), 0o750); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Kill(t) })
	s.Restart(t)
	return s
}

// URL is the server's, for an endpoint parameter.
func (s *Server) URL() string { return "http://" + s.Address }

// find looks for the program in PATH and where 'go install' puts it.
func find() string {
	if path, err := exec.LookPath("versitygw"); err == nil {
		return path
	}
	for _, folder := range []string{os.Getenv("GOBIN"), goEnv("GOBIN"), filepath.Join(goEnv("GOPATH"), "bin")} {
		path := filepath.Join(folder, "versitygw")
		if info, err := os.Stat(path); folder != "" && err == nil && info.Mode().IsRegular() {
			return path
		}
	}
	return ""
}

func goEnv(name string) string {
	out, err := exec.CommandContext(context.Background(), "go", "env", name).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Kill ends the server at once, in the midst of whatever it does.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	if s.process == nil {
		return
	}
	if err := s.process.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("kill versitygw: %v", err)
	}
	_ = s.process.Wait() // says that it was killed
	s.process = nil
}

// Restart starts the server on its folder again and waits until it answers.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.Kill(t)
	//nolint:gosec // a program of the test's own
	s.process = exec.CommandContext(context.Background(), s.program,
		"--port", s.Address, "--quiet", "--keep-alive", "--health", "/healthz", "posix", s.Dir)
	s.process.Env = append(os.Environ(), "ROOT_ACCESS_KEY_ID="+AccessKey, "ROOT_SECRET_ACCESS_KEY="+SecretKey)
	s.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.process.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := s.healthy(t.Context())
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("versitygw does not answer: %v", err)
		}
		time.Sleep(10 * time.Millisecond) // another process: there is no event to wait for
	}
}

func (s *Server) healthy(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL()+"/healthz", nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("healthz: %s", answer.Status)
	}
	return nil
}
