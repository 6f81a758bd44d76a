package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
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

// demoCommand runs a cluster on this machine, a process for each node, to look
// at and to break.
type demoCommand struct {
	Dir     string   `default:"./cigogne-demo" placeholder:"DIR" type:"path" help:"Directory of all nodes' data, certificates and logs (${default})."`
	Nodes   int      `default:"3" help:"How many nodes, 1 to 9 (${default})."`
	Archive []string `placeholder:"URL" sep:"none" help:"Archive that the nodes share; repeatable (DIR/archive)."`
	HTTP    int      `name:"http-port" default:"8081" help:"First node's HTTP port; the others follow (${default})."`
	DIMSE   int      `name:"dimse-port" default:"11121" help:"First node's DIMSE port; the others follow (${default})."`
	PeerAt  int      `name:"peer-port" default:"7001" help:"First node's peer port; the others follow (${default})."`
	With    []string `name:"with" placeholder:"FLAG" sep:"none" help:"Flag that each 'cigogne serve' is given, such as --with=--settle=5s; repeatable."`
}

// Validate implements kong's validation hook.
func (d *demoCommand) Validate() error {
	const most = 9
	if d.Nodes < 1 || d.Nodes > most {
		return fmt.Errorf("%w: --nodes: 1 to %d", errUsage, most)
	}
	for _, p := range []int{d.HTTP, d.DIMSE, d.PeerAt} {
		if p < 1 || p > 65535-most {
			return fmt.Errorf("%w: port %d", errUsage, p)
		}
	}
	return nil
}

// Help is shown below the command's flags.
func (*demoCommand) Help() string {
	return `Starts the nodes n1, n2 and so on, and takes commands, a line each: status; stop, kill, pause, resume or start and a node's name; quit. It goes on without any when its input ends. Beginning again in the same directory goes on with what is there.`
}

// Run runs the cluster until ctx ends or it is told to quit.
func (d *demoCommand) Run(ctx context.Context, to console) error {
	if err := os.MkdirAll(d.Dir, 0o700); err != nil {
		return fmt.Errorf("--dir: %w", err)
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	c := &demo{demoCommand: d, program: program, to: to}
	defer c.stopAll()
	for i := range d.Nodes {
		n := &demoNode{id: "n" + strconv.Itoa(i+1), at: i}
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

// demo is a cluster that runs.
type demo struct {
	*demoCommand
	program string
	to      console
	nodes   []*demoNode
}

// demoNode is one process of it, or none while it is stopped.
type demoNode struct {
	id  string
	at  int
	mu  sync.Mutex
	cmd *exec.Cmd
	end chan struct{} // closed when the process has ended
}

func local(port, at int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port+at)) }

func (c *demo) start(n *demoNode) error {
	if n.running() {
		return fmt.Errorf("%s runs", n.id)
	}
	args := []string{
		"serve", "--node-id", n.id, "--data-dir", filepath.Join(c.Dir, n.id), "--peer-certs", filepath.Join(c.Dir, "certs"),
		"--http", local(c.HTTP, n.at), "--dimse", local(c.DIMSE, n.at), "--peer", local(c.PeerAt, n.at),
	}
	if n.at == 0 {
		args = append(args, "--bootstrap")
	} else {
		args = append(args, "--join", local(c.PeerAt, 0))
	}
	archives := c.Archive
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
	cmd := exec.Command(c.program, append(args, c.With...)...) //nolint:noctx // stopAll ends it
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

func (n *demoNode) running() bool {
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
func (n *demoNode) tell(s syscall.Signal, ends bool) error {
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
	// demoPatience is how long a node may take to be ready, and demoGrace to
	// end.
	demoPatience = time.Minute
	demoGrace    = 30 * time.Second
	demoLook     = 100 * time.Millisecond
)

func (c *demo) ready(ctx context.Context, n *demoNode) error {
	ctx, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	look := time.NewTicker(demoLook)
	defer look.Stop()
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
		case <-look.C:
		}
	}
}

func (c *demo) table() {
	w := tabwriter.NewWriter(c.to.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tHTTP\tDIMSE\tPEER\tLOG")
	for _, n := range c.nodes {
		fmt.Fprintf(w, "%s\thttp://%s/dicom-web\t%s\t%s\t%s\n", n.id, local(c.HTTP, n.at), local(c.DIMSE, n.at),
			local(c.PeerAt, n.at), filepath.Join(c.Dir, n.id+".log"))
	}
	w.Flush()
	fmt.Fprint(c.to.out, "\nstatus | stop, kill, pause, resume, start NODE | quit\n")
}

// obey takes commands until ctx ends or one says so.
func (c *demo) obey(ctx context.Context) {
	lines := make(chan string)
	go func() { // ends with the input, or the process
		for s := bufio.NewScanner(os.Stdin); s.Scan(); {
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
				fmt.Fprintf(c.to.out, "%v\n", err)
			} else if !quit {
				fmt.Fprintln(c.to.out, "done")
			}
			if quit {
				return
			}
		}
	}
}

func (c *demo) do(ctx context.Context, words []string) (quit bool, err error) {
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
func (c *demo) status(ctx context.Context) error {
	var err error
	for _, n := range c.nodes {
		if !n.running() {
			continue
		}
		s := clusterStatus{contact: contact{Peer: local(c.PeerAt, n.at), PeerCerts: filepath.Join(c.Dir, "certs")}}
		bounded, cancel := context.WithTimeout(ctx, 3*time.Second)
		err = s.Run(bounded, c.to)
		cancel()
		if err == nil {
			return nil
		}
	}
	return errors.Join(errors.New("no node answers"), err)
}

// stopAll asks all to end, together, and ends those that don't.
func (c *demo) stopAll() {
	var all sync.WaitGroup
	for _, n := range c.nodes {
		if !n.running() {
			continue
		}
		all.Go(func() {
			_ = n.tell(syscall.SIGCONT, false) // it may be paused, or have ended
			_ = n.tell(syscall.SIGTERM, false)
			t := time.NewTimer(demoGrace)
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
