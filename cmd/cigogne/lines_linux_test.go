package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/consensus/clustertest"
)

// lines are the network between nodes that are processes: what a node tells
// the others as its address is a relay's, which lets pass what the network
// does.
type lines struct {
	*clustertest.Network
	t    *testing.T
	ctx  context.Context // ends with the test
	work sync.WaitGroup
}

func newLines(t *testing.T) *lines {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	l := &lines{Network: clustertest.NewNetwork(), t: t, ctx: ctx}
	t.Cleanup(func() {
		cancel()
		l.work.Wait()
	})
	return l
}

// before puts a relay before a node's peer port and returns where it listens.
func (l *lines) before(id, addr string) string {
	l.t.Helper()
	l.At(addr, id)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		l.t.Fatal(err)
	}
	context.AfterFunc(l.ctx, func() { listener.Close() })
	l.work.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			l.work.Go(func() {
				from, err := nodeOf(c)
				if err != nil { // it is gone by now
					c.Close()
					return
				}
				l.Relay(l.ctx, from, c, addr)
			})
		}
	})
	return listener.Addr().String()
}

// nodeOf is the id of the node that has the other end of a connection: what
// its command line says.
func nodeOf(c net.Conn) (string, error) {
	inode, err := inodeOf(c.RemoteAddr().String(), c.LocalAddr().String())
	if err != nil {
		return "", err
	}
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return "", err
	}
	for _, path := range commands {
		b, _ := os.ReadFile(path) // it may have ended
		args := strings.Split(string(bytes.TrimSuffix(b, []byte{0})), "\x00")
		at := slices.Index(args, "--node-id")
		if at < 0 || at+1 == len(args) {
			continue
		}
		files, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "fd", "*"))
		for _, f := range files {
			if to, _ := os.Readlink(f); to == "socket:["+inode+"]" {
				return args[at+1], nil
			}
		}
	}
	return "", fmt.Errorf("no node has the socket %s", inode)
}

// inodeOf is the socket that is bound to an address and connected to another.
func inodeOf(bound, to string) (string, error) {
	ours, err := kernelAddress(bound)
	if err != nil {
		return "", err
	}
	theirs, err := kernelAddress(to)
	if err != nil {
		return "", err
	}
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return "", err
	}
	const inode = 9
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > inode && f[1] == ours && f[2] == theirs {
			return f[inode], nil
		}
	}
	return "", fmt.Errorf("no socket from %s to %s", bound, to)
}

// slowDisk lets everything that a process makes durable take longer, until the
// function it returns is called; it is nil where strace is missing or may not
// trace.
func slowDisk(t *testing.T, p *process, by time.Duration) (heal func()) {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		return nil
	}
	const calls = "fsync,fdatasync,sync_file_range"
	cmd := exec.Command(strace, "-f", "-p", strconv.Itoa(p.cmd.Process.Pid), "-o", "/dev/null",
		"-e", "trace="+calls, "-e", fmt.Sprintf("inject=%s:delay_enter=%d", calls, by.Microseconds()))
	said := &lockedBuffer{}
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // it is told to end
	}()
	heal = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(os.Interrupt) // it lets go of the process
		<-ended
	})
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(said.String(), "attached") {
		select {
		case <-ended:
			t.Logf("strace does not trace: %s", said)
			return nil
		case <-tick.C:
		}
	}
	t.Cleanup(heal)
	return heal
}
