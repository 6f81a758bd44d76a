// Package subject starts and stops what is measured: our node, its peers, and
// programs that show what the machine allows. Each runs in processes of its
// own, so that what it uses can be told from what its clients use.
package subject

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/esante-alsace/cigogne/benchmarks/proc"
	"github.com/esante-alsace/cigogne/benchmarks/result"
)

// ErrMissing is returned for a subject that is not installed here.
var ErrMissing = errors.New("not installed")

// Subject is one that can be measured.
type Subject interface {
	// Name is unique among subjects.
	Name() string
	Role() result.Role
	// Promise says what is safe of what it acknowledges, with the settings
	// that make it so.
	Promise() string
	// Start starts it in a directory of its own, which it makes, listening on
	// a host, and returns when it answers. It ends with ctx at the latest.
	Start(ctx context.Context, dir, host string) (*Running, error)
}

// Endpoints say where a subject listens; what it does not offer is empty.
type Endpoints struct {
	DIMSE   string // host:port
	AETitle string
	Web     string // root of its DICOMweb services
	Files   string // root under which files of the directory are served
	S3      string // root of its S3 service
	Dir     string // its directory
	Pprof   string // root of its Go profiles
}

// Running is a subject at work.
type Running struct {
	Endpoints
	cmd  *exec.Cmd
	log  string // file
	done chan struct{}
	// behind is the database or the archive that it works with, or nil: what
	// that uses counts as its own, and it ends with it.
	behind *Running
}

// Idle is a subject without a process: its clients do all there is to do.
func Idle(dir string) *Running { return &Running{Endpoints: Endpoints{Dir: dir}} }

// startTimeout is how long a subject may take to answer; an index of a million
// studies is opened in it.
const startTimeout = 60 * time.Second

// launch runs the command with its output in a log file, and waits until all
// addresses take connections.
func launch(ctx context.Context, cmd *exec.Cmd, at Endpoints, addresses ...string) (*Running, error) {
	r := &Running{Endpoints: at, cmd: cmd, log: filepath.Join(at.Dir, "log"), done: make(chan struct{})}
	log, err := os.Create(r.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(r.done)
		cmd.Wait() //nolint:errcheck // how it ends is not measured
	}()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for _, a := range addresses {
		if err := r.await(ctx, a); err != nil {
			r.Stop()
			return nil, err
		}
	}
	return r, nil
}

func (r *Running) await(ctx context.Context, addr string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		d := net.Dialer{Timeout: time.Second}
		c, err := d.DialContext(ctx, "tcp", addr)
		if err == nil {
			return c.Close()
		}
		select {
		case <-tick.C:
		case <-r.done:
			return fmt.Errorf("%s has ended: %s", r.cmd.Path, r.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s does not listen on %s: %s", r.cmd.Path, addr, r.tail())
		}
	}
}

// tail is the end of what it has written.
func (r *Running) tail() string {
	b, err := os.ReadFile(r.log)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-2000):])
}

// Usage is what its processes have used; nothing when it has none.
func (r *Running) Usage() (proc.Usage, error) {
	if r == nil || r.cmd == nil {
		return proc.Usage{}, nil
	}
	own, err := proc.Tree(r.cmd.Process.Pid)
	if err != nil {
		return own, err
	}
	behind, err := r.behind.Usage()
	own.CPU += behind.CPU
	own.PeakRSS += behind.PeakRSS
	return own, err
}

// Quiet waits until its processes use no more than a hundredth of a processor,
// for at most the limit.
func (r *Running) Quiet(ctx context.Context, limit time.Duration) {
	if r.cmd == nil {
		return
	}
	const window, idle = 100 * time.Millisecond, 10 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(window)
	defer tick.Stop()
	last := time.Duration(-1)
	for {
		u, err := r.Usage()
		if err != nil || last >= 0 && u.CPU-last <= idle/2 {
			return
		}
		last = u.CPU
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// stopTimeout is how long a subject may take to end before it is killed.
const stopTimeout = 15 * time.Second

// Stop ends it.
func (r *Running) Stop() {
	if r == nil || r.cmd == nil {
		return
	}
	defer r.behind.Stop()
	r.cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it may have ended
	select {
	case <-r.done:
	case <-time.After(stopTimeout):
		r.cmd.Process.Kill() //nolint:errcheck // see above
		<-r.done
	}
}

// Ports are taken below those that Linux gives to outgoing connections: a
// client that waits for a port among them may connect to itself.
const firstPort, lastPort = 20000, 32000

// freeAddress is a port on the host that was free a moment ago.
func freeAddress(host string) (addr, port string, err error) {
	for range 100 {
		port = strconv.Itoa(firstPort + rand.IntN(lastPort-firstPort))
		l, err := net.Listen("tcp", ":"+port) //nolint:noctx // it does not wait
		if err == nil {
			return net.JoinHostPort(host, port), port, l.Close()
		}
	}
	return "", "", errors.New("no port is free")
}

// program finds an installed program.
func program(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin", "/usr/local/bin"} {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, ErrMissing)
}
