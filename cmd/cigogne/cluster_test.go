package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/esante-alsace/cigogne/consensus"
	"github.com/esante-alsace/cigogne/gateway/dimse"
)

// cohort is a cluster of processes on this machine.
type cohort struct {
	t     *testing.T
	dir   string
	peers map[string]string
	nodes map[string]*process
	// relays, when set, makes of the address at which a node listens the one at
	// which the others reach it.
	relays  func(id, addr string) string
	reached map[string]string
	// failpoints is a program built with the tag of that name, in whose
	// environment there is at; "" is the test's own.
	failpoints, at string
}

func (r *cohort) command(dir string, args []string) *exec.Cmd {
	args = serveArgs(dir, args)
	if r.failpoints == "" {
		return command(context.Background(), args...)
	}
	cmd := exec.CommandContext(context.Background(), r.failpoints, args...)
	cmd.Env = append(os.Environ(), r.at)
	return cmd
}

func newRegion(t *testing.T) *cohort {
	return &cohort{t: t, dir: t.TempDir(), peers: map[string]string{}, reached: map[string]string{}, nodes: map[string]*process{}}
}

// start starts a node: the first begins the cluster, others join it.
func (r *cohort) start(id string, flags ...string) *process {
	r.t.Helper()
	r.startAll([]string{id}, flags...)
	return r.nodes[id]
}

// startAll starts nodes at the same time: one that was taken over from needs
// most of them before it listens.
func (r *cohort) startAll(ids []string, flags ...string) {
	r.t.Helper()
	started, errs := make([]*process, len(ids)), make([]error, len(ids))
	var all sync.WaitGroup
	for i, id := range ids {
		cmd := r.command(filepath.Join(r.dir, id), r.args(id, flags))
		all.Go(func() { started[i], errs[i] = listening(r.t, cmd) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		r.t.Fatal(err)
	}
	for i, id := range ids {
		r.nodes[id] = started[i]
	}
}

// args are the flags of a node.
func (r *cohort) args(id string, flags []string) []string {
	how := []string{"--bootstrap"}
	for other := range r.peers {
		if other != id {
			how = []string{"--join", r.reached[other]}
		}
	}
	if r.peers[id] == "" {
		r.peers[id] = freeAddr(r.t)
		r.reached[id] = r.peers[id]
		if r.relays != nil {
			r.reached[id] = r.relays(id, r.peers[id])
		}
	}
	return append([]string{"--node-id", id, "--peer", r.peers[id], "--peer-advertise", r.reached[id], "--peer-certs", filepath.Join(r.dir, "certs"),
		"--archive", "dir://" + filepath.Join(r.dir, "archive"), "--settle", "1h"}, append(how, flags...)...)
}

// cluster runs 'cigogne cluster' through the node and returns what it prints.
func (r *cohort) cluster(id, what string, args ...string) (string, int) {
	r.t.Helper()
	var out, errs bytes.Buffer
	code := run(r.t.Context(), append([]string{"cluster", what, "--peer", r.peers[id], "--peer-certs", filepath.Join(r.dir, "certs")}, args...), nil, &out, &errs)
	return out.String() + errs.String(), code
}

// status is what a node says of all.
func (r *cohort) status(id string) map[string]consensus.Status {
	r.t.Helper()
	out, code := r.cluster(id, "status", "--json")
	if code != exitOK {
		return nil
	}
	var list []consensus.Status
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		r.t.Fatalf("%v: %s", err, out)
	}
	all := map[string]consensus.Status{}
	for _, s := range list {
		all[s.ID] = s
	}
	return all
}

// leader waits until the node knows who leads.
func (r *cohort) leader(asked string) (id string) {
	r.t.Helper()
	r.nodes[asked].eventually("a leader is known", func() bool {
		for _, s := range r.status(asked) {
			if s.State == "leader" {
				id = s.ID
				return true
			}
		}
		return false
	})
	return id
}

func (r *cohort) voting() {
	const n = 3
	r.t.Helper()
	for id, p := range r.nodes {
		p.eventually(fmt.Sprintf("%d nodes vote", n), func() bool {
			votes := 0
			for _, m := range r.status(id)[id].Members {
				if m.Voter {
					votes++
				}
			}
			return votes == n
		})
	}
}

// stowFile stores a file and returns the answer's code.
func stowFile(t *testing.T, p *process, file string) int {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(p.web+"/dicom-web/studies", "application/dicom", bytes.NewReader(b))
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// instances are how many the node finds, and the answer's header.
func instances(t *testing.T, p *process, header ...string) (int, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.web+"/dicom-web/instances?limit=1000", nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return -1, nil
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNoContent {
		return 0, resp.Header
	}
	if resp.StatusCode != http.StatusOK {
		return -resp.StatusCode, resp.Header
	}
	var list []json.RawMessage
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		t.Fatal(err)
	}
	return len(list), resp.Header
}

func synthesized(t *testing.T, n int) []string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "run", "../../benchmarks/cmd/synthesize", "-instances", strconv.Itoa(n), dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("synthesize: %v %s", err, out)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.dcm"))
	if err != nil || len(files) != n {
		t.Fatalf("%d files, %v", len(files), err)
	}
	return files
}

// TestAClusterInThreeCommands: what one node is given, the next query at any
// other finds; a node drains, another dies, and the rest go on.
func TestAClusterInThreeCommands(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	ids := []string{"n1", "n2", "n3"}
	for _, id := range ids {
		r.start(id)
	}
	r.voting()
	files := synthesized(t, 12)
	for i, f := range files[:6] {
		if code := stowFile(t, r.nodes[ids[i%3]], f); code != http.StatusOK {
			t.Fatalf("STOW-RS at %s: %d", ids[i%3], code)
		}
		for _, id := range ids {
			if i%2 == 1 { // C-FIND is the first to ask for it
				if found := byCFIND(t, r.nodes[id], dimse.StudyRootFind, "IMAGE").Matches; len(found) != i+1 {
					t.Fatalf("%s finds %d instances of %d by C-FIND", id, len(found), i+1)
				}
			}
			n, h := instances(t, r.nodes[id])
			if n != i+1 || h.Get("Cigogne-Consistency") != "strong" || h.Get("Cigogne-Index") == "" {
				t.Fatalf("%s finds %d instances of %d (%v)", id, n, i+1, h)
			}
		}
	}
	if n, h := instances(t, r.nodes["n2"], "Cigogne-Consistency", "bounded"); n < 0 || !strings.HasPrefix(h.Get("Cigogne-Consistency"), "bounded; age=") {
		t.Errorf("%d, %v", n, h)
	}
	for _, bad := range [][]string{{"Cigogne-Consistency", "eventual"}, {"Cigogne-Min-Index", "x"}} {
		if n, _ := instances(t, r.nodes["n2"], bad...); n != -http.StatusBadRequest {
			t.Errorf("%v: %d", bad, n)
		}
	}

	drained := r.leader("n1")
	var on string
	for _, id := range ids {
		if id != drained {
			on = id
		}
	}
	if out, code := r.cluster(on, "drain", drained); code != exitOK {
		t.Fatal(out)
	}
	if now := r.leader(on); now == drained {
		t.Errorf("%s drains and leads", now)
	}
	if code := stowFile(t, r.nodes[drained], files[6]); code != http.StatusServiceUnavailable {
		t.Errorf("a node that drains stores: %d", code)
	}
	if ready, why := checks(t, r.nodes[drained]); ready || why["cluster"] == "" {
		t.Errorf("a node that drains is ready: %v", why)
	}
	if n, _ := instances(t, r.nodes[drained]); n != 6 {
		t.Errorf("a node that drains finds %d", n)
	}
	if out, code := r.cluster(on, "drain", "--undo", drained); code != exitOK {
		t.Fatal(out)
	}
	r.nodes[drained].ready()

	dead := r.leader(on)
	r.nodes[dead].kill()
	for _, id := range ids {
		if id == dead {
			continue
		}
		r.nodes[id].eventually("it stores and finds", func() bool {
			if stowFile(t, r.nodes[id], files[7]) != http.StatusOK {
				return false
			}
			n, _ := instances(t, r.nodes[id], "Cigogne-Consistency", "strong")
			return n == 7
		})
	}
	r.start(dead).ready()
	if n, _ := instances(t, r.nodes[dead]); n != 7 {
		t.Errorf("the one that died finds %d", n)
	}
	for _, id := range ids {
		r.nodes[id].stop() // one after the other, each hands over
	}
}

// TestWhoMayNotJoin: a certificate of another CA, and data of a node that
// stood alone.
func TestWhoMayNotJoin(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	r.start("n1").ready()
	other := filepath.Join(r.dir, "other")
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"certs", "--dir", other, "n2"}, nil, &out, &errs); code != exitOK {
		t.Fatal(errs.String())
	}
	if code := run(t.Context(), []string{"cluster", "status", "--peer", r.peers["n1"], "--peer-certs", other}, nil, &out, &errs); code != exitFailure {
		t.Errorf("a stranger sees the cluster: %s", out.String())
	}
	alone := filepath.Join(r.dir, "n3")
	p := serve(t, alone)
	if code := stowFile(t, p, synthesized(t, 1)[0]); code != http.StatusOK {
		t.Fatal(code)
	}
	p.ready()
	p.stop()
	if _, err := tryServe(t, alone, "--node-id", "n3", "--peer", freeAddr(t), "--peer-certs", filepath.Join(r.dir, "certs"), "--join", r.peers["n1"]); err == nil || !strings.Contains(err.Error(), "stood alone") {
		t.Errorf("%v", err)
	}
	r.nodes["n1"].stop()
	if _, err := tryServe(t, filepath.Join(r.dir, "n1")); err == nil || !strings.Contains(err.Error(), "of a cluster") {
		t.Errorf("a node of a cluster stands alone: %v", err)
	}
	for _, flags := range [][]string{
		{"--node-id", "n1"}, {"--bootstrap"}, {"--node-id", "N 1", "--peer", "127.0.0.1:7001"},
		{"--node-id", "n1", "--peer", "0.0.0.0:7001", "--open"},
		{"--node-id", "n1", "--peer", "127.0.0.1:7001", "--bootstrap", "--join", "127.0.0.1:7002"},
	} {
		if code := run(t.Context(), append([]string{"serve"}, flags...), nil, &out, &errs); code != exitUsage {
			t.Errorf("%v: %d", flags, code)
		}
	}
}
