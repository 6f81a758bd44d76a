// Package demo runs a cluster on this machine, a process for each node, to look
// at and to break.
package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"
)

// Options say what cluster it is, and who is told.
type Options struct {
	Program           string   // the cigogne that the nodes run
	Dir               string   // of all nodes' data, certificates and logs; it is there
	Nodes             int      // how many
	Archives          []string // URLs; without any the nodes share a folder in Dir
	HTTP, DIMSE, Peer int      // the first node's ports; the others follow
	With              []string // flags that each node is given

	In  io.Reader // commands, a line each
	Out io.Writer
	// Status writes how the cluster is, as the node at the address says.
	Status func(ctx context.Context, peer string) error
}

// Certs is where the certificates of the cluster in dir are.
func Certs(dir string) string { return filepath.Join(dir, "certs") }

// Run runs the cluster until ctx ends or it is told to quit.
func Run(ctx context.Context, o Options) error {
	c := &cluster{Options: o}
	defer c.stopAll()
	for i := range o.Nodes {
		n := &node{id: "n" + strconv.Itoa(i+1), at: i}
		c.nodes = append(c.nodes, n)
		if err := c.start(n); err != nil {
			return err
		}
	}
	for _, n := range c.nodes {
		if err := c.ready(ctx, n); err != nil {
			return err
		}
	}
	c.table()
	c.obey(ctx)
	return nil
}

// cluster is one that runs.
type cluster struct {
	Options
	nodes []*node
}

// node is one process of it, or none while it is stopped.
type node struct {
	id  string
	at  int
	mu  sync.Mutex
	cmd *exec.Cmd
	end chan struct{} // closed when the process has ended
}

func local(port, at int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port+at)) }

func (c *cluster) start(n *node) error {
	if n.running() {
		return fmt.Errorf("%s runs", n.id)
	}
	args := []string{
		"serve", "--node-id", n.id, "--data-dir", filepath.Join(c.Dir, n.id), "--peer-certs", Certs(c.Dir),
		"--http", local(c.HTTP, n.at), "--dimse", local(c.DIMSE, n.at), "--peer", local(c.Peer, n.at),
	}
	if n.at == 0 {
		args = append(args, "--bootstrap")
	} else {
		args = append(args, "--join", local(c.Peer, 0))
	}
	archives := c.Archives
	if len(archives) == 0 {
		archives = []string{"dir://" + filepath.Join(c.Dir, "archive")}
	}
	for _, a := range archives {
		args = append(args, "--archive", a)
	}
	log, err := os.OpenFile(filepath.Join(c.Dir, n.id+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer log.Close()
	// Not bound to a context: it is asked to end, and waited for.
	cmd := exec.Command(c.Program, append(args, c.With...)...) //nolint:noctx // stopAll ends it
	cmd.Stderr = log
	// A group of its own: what ends this process is handed on in good order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("demo: %s: %w", n.id, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cmd, n.end = cmd, make(chan struct{})
	go func(end chan struct{}) {
		_ = cmd.Wait() // how it ended is in its log
		close(end)
	}(n.end)
	return nil
}

func (n *node) running() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return false
	}
	select {
	case <-n.end:
		return false
	default:
		return true
	}
}

// tell sends a signal, and waits for the end when it is one that ends.
func (n *node) tell(s syscall.Signal, ends bool) error {
	if !n.running() {
		return fmt.Errorf("%s does not run", n.id)
	}
	n.mu.Lock()
	cmd, end := n.cmd, n.end
	n.mu.Unlock()
	if err := cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("%s: %w", n.id, err)
	}
	if ends {
		<-end
	}
	return nil
}

const (
	// patience is how long a node may take to be ready, and grace to end.
	patience = time.Minute
	grace    = 30 * time.Second
	look     = 100 * time.Millisecond
)

func (c *cluster) ready(ctx context.Context, n *node) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+local(c.HTTP, n.at)+"/readyz", nil)
		if err != nil {
			return err
		}
		if r, err := http.DefaultClient.Do(req); err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-n.end:
			return fmt.Errorf("%s ended: see %s", n.id, filepath.Join(c.Dir, n.id+".log"))
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: see %s: %w", n.id, filepath.Join(c.Dir, n.id+".log"), ctx.Err())
		case <-tick.C:
		}
	}
}

func (c *cluster) table() {
	w := tabwriter.NewWriter(c.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tHTTP\tDIMSE\tPEER\tLOG")
	for _, n := range c.nodes {
		fmt.Fprintf(w, "%s\thttp://%s/dicom-web\t%s\t%s\t%s\n", n.id, local(c.HTTP, n.at), local(c.DIMSE, n.at),
			local(c.Peer, n.at), filepath.Join(c.Dir, n.id+".log"))
	}
	w.Flush()
	fmt.Fprint(c.Out, "\nstatus | stop, kill, pause, resume, start NODE | quit\n")
}

// obey takes commands until ctx ends or one says so.
func (c *cluster) obey(ctx context.Context) {
	lines := make(chan string)
	go func() { // ends with the input, or the process
		for s := bufio.NewScanner(c.In); s.Scan(); {
			lines <- s.Text()
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case line := <-lines:
			quit, err := c.do(ctx, strings.Fields(line))
			if err != nil {
				fmt.Fprintf(c.Out, "%v\n", err)
			} else if !quit {
				fmt.Fprintln(c.Out, "done")
			}
			if quit {
				return
			}
		}
	}
}

func (c *cluster) do(ctx context.Context, words []string) (quit bool, err error) {
	switch {
	case len(words) == 1 && words[0] == "quit":
		return true, nil
	case len(words) == 1 && words[0] == "status":
		return false, c.status(ctx)
	case len(words) != 2:
		return false, errors.New("status | stop, kill, pause, resume, start NODE | quit")
	}
	for _, n := range c.nodes {
		if n.id != words[1] {
			continue
		}
		switch words[0] {
		case "stop":
			return false, n.tell(syscall.SIGTERM, true)
		case "kill":
			return false, n.tell(syscall.SIGKILL, true)
		case "pause":
			return false, n.tell(syscall.SIGSTOP, false)
		case "resume":
			return false, n.tell(syscall.SIGCONT, false)
		case "start":
			return false, c.start(n)
		}
	}
	return false, fmt.Errorf("%s: no such command or node", strings.Join(words, " "))
}

// status asks the first node that answers.
func (c *cluster) status(ctx context.Context) error {
	var err error
	for _, n := range c.nodes {
		if !n.running() {
			continue
		}
		bounded, cancel := context.WithTimeout(ctx, 3*time.Second)
		err = c.Status(bounded, local(c.Peer, n.at))
		cancel()
		if err == nil {
			return nil
		}
	}
	return errors.Join(errors.New("no node answers"), err)
}

// stopAll asks all to end, together, and ends those that don't.
func (c *cluster) stopAll() {
	var all sync.WaitGroup
	for _, n := range c.nodes {
		if !n.running() {
			continue
		}
		all.Go(func() {
			_ = n.tell(syscall.SIGCONT, false) // it may be paused, or have ended
			_ = n.tell(syscall.SIGTERM, false)
			t := time.NewTimer(grace)
			defer t.Stop()
			select {
			case <-n.end:
			case <-t.C:
				_ = n.tell(syscall.SIGKILL, true)
			}
		})
	}
	all.Wait()
}
