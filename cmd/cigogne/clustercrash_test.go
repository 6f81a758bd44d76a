package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
	"github.com/esante-alsace/cigogne/storage/failpoint"
)

var (
	clusterSeed  = flag.Uint64("cluster.seed", uint64(time.Now().UnixNano()), "seed of the cluster crash test's moments")
	clusterKills = flag.Int("cluster.kills", 0, "how often the cluster crash test takes a node away (6, with -short 2)")
)

// TestClusterCrash takes one node of three away at random moments, killed or
// merely stopped, and in the end all at once, while all are pushed to. With that node still away the others
// give all that was ever acknowledged by any, bit for bit, and list nothing
// that cannot be read. When it is back nothing is there twice, and nothing is
// left of what was taken over.
func TestClusterCrash(t *testing.T) {
	t.Parallel() // it waits more than it works
	kills := *clusterKills
	if kills == 0 {
		kills = 6
		if testing.Short() {
			kills = 2
		}
	}
	t.Logf("-cluster.seed %d", *clusterSeed)
	random := rand.New(rand.NewPCG(*clusterSeed, 1))
	r := newRegion(t)
	ids := []string{"n1", "n2", "n3"}
	flags := []string{"--settle", "300ms", "--takeover-after", "2s", "--grace", "1s"}
	for _, id := range ids {
		r.start(id, flags...)
	}
	r.voting()
	all := map[storage.InstanceKey]storage.Digest{}
	for round := range kills {
		victim := ids[random.IntN(3)]
		l := r.disturb(round, func() {
			pause := time.Duration(random.IntN(400)) * time.Millisecond
			<-time.After(pause)
			if round%3 == 2 {
				r.signal(victim, syscall.SIGSTOP)
			} else {
				r.nodes[victim].kill()
			}
			<-time.After(300 * time.Millisecond)
		})
		maps.Copy(all, l.acknowledged)
		for _, id := range ids {
			if id != victim {
				r.gives(id, l.acknowledged)
			}
		}
		if round%3 == 2 {
			r.signal(victim, syscall.SIGCONT)
		} else {
			r.start(victim, flags...)
		}
		r.gives(victim, l.acknowledged) // it may begin anew meanwhile
		checkRound(t, r.nodes[ids[(slices.Index(ids, victim)+1)%3]], l)
		if t.Failed() {
			t.Fatalf("round %d: %s was taken away\n%s", round, victim, r.nodes[victim].log)
		}
	}
	t.Logf("%d times a node was away, %d instances acknowledged", kills, len(all))
	if len(all) < kills {
		t.Errorf("only %d instances were acknowledged: the test shows little", len(all))
	}
	last := r.disturb(kills, func() { // all at once
		for _, id := range ids {
			r.nodes[id].kill()
		}
	})
	maps.Copy(all, last.acknowledged)
	r.startAll(ids, flags...)
	for _, id := range ids {
		r.gives(id, last.acknowledged)
	}
	r.settled()
	for _, id := range ids {
		r.gives(id, all)
	}
	checkRound(t, r.nodes[ids[0]], last)
	for _, id := range ids {
		r.nodes[id].stop()
		fsck(t, filepath.Join(r.dir, id), "--archive", "dir://"+filepath.Join(r.dir, "archive"))
	}
}

// disturb pushes to all nodes while something happens, and for as long as that
// takes.
func (r *cohort) disturb(round int, happens func()) *ledger {
	l := newLedger()
	ctx, stop := context.WithCancel(r.t.Context())
	var senders sync.WaitGroup
	i := 0
	for _, node := range r.nodes {
		for range 2 {
			seed := uint64(round*10 + i)
			senders.Go(func() { push(ctx, node, l, seed) })
			i++
		}
	}
	select {
	case <-l.first:
	case <-time.After(hangs):
		r.t.Errorf("round %d: nothing is acknowledged", round)
	}
	happens()
	stop()
	senders.Wait()
	return l
}

func (r *cohort) signal(id string, s syscall.Signal) {
	r.t.Helper()
	if err := r.nodes[id].cmd.Process.Signal(s); err != nil {
		r.t.Fatal(err)
	}
}

// gives waits until a node gives all of the instances, bit for bit.
func (r *cohort) gives(id string, all map[storage.InstanceKey]storage.Digest) {
	r.t.Helper()
	missing := maps.Clone(all)
	var why error
	deadline := time.Now().Add(hangs)
	for len(missing) > 0 && time.Now().Before(deadline) {
		for k, want := range missing {
			got, err := fetch(r.t.Context(), r.nodes[id].web, k)
			if err != nil {
				why = fmt.Errorf("%s: %w", k.SOPInstanceUID, err)
				break
			}
			if got != want {
				r.t.Errorf("%s gives instance %s with digest %s, not %s", id, k.SOPInstanceUID, got, want)
			}
			delete(missing, k)
		}
	}
	if len(missing) > 0 {
		r.signal(id, syscall.SIGQUIT) // its goroutines are in the log then
		<-r.nodes[id].done
		r.t.Fatalf("%s does not give %d of %d acknowledged instances: %v\n%s", id, len(missing), len(all), why, r.nodes[id].log)
	}
}

// says tells whether a node's metrics have a value; a node that begins anew says
// nothing for a moment.
func says(p *process, name, value string) bool {
	resp, err := http.Get(p.web + "/metrics")
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return err == nil && strings.Contains(string(b), "\n"+name+" "+value+"\n")
}

// settled waits until all is archived and nothing is left to take over.
func (r *cohort) settled() {
	r.t.Helper()
	for _, p := range r.nodes {
		for _, name := range []string{`cigogne_index_held{kind="live"}`, "cigogne_retired_journals", "cigogne_copies_waiting"} {
			p.eventually(name+" is 0", func() bool { return says(p, name, "0") })
		}
	}
}

// TestKilledBetween kills a node exactly between two steps of an instance's
// life. What it had acknowledged is there while it is away, what it had not is
// there whole or not at all, and all is there once when it is back.
func TestKilledBetween(t *testing.T) {
	if testing.Short() {
		t.Skip("has a program of its own, in which no race is looked for")
	}
	t.Parallel() // it waits more than it works
	program := filepath.Join(t.TempDir(), "cigogne")
	build := exec.CommandContext(t.Context(), "go", "build", "-tags", "failpoints", "-o", program, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, gap := range []string{
		failpoint.JournalSynced, failpoint.Copied, failpoint.Committed, failpoint.Put, failpoint.Answering,
	} {
		if testing.Short() && gap != failpoint.Copied {
			continue
		}
		t.Run(gap, func(t *testing.T) {
			r := newRegion(t)
			flags := []string{"--settle", "200ms", "--takeover-after", "1s", "--grace", "1s"}
			for _, id := range []string{"n1", "n2"} {
				r.start(id, flags...)
			}
			r.failpoints, r.at = program, failpoint.Variable+"="+gap
			if gap != failpoint.Committed && gap != failpoint.Put { // those are passed once for many instances
				r.at += "=7"
			}
			r.start("n3", flags...)
			r.failpoints = ""
			r.voting()
			l := newLedger()
			ctx, stop := context.WithCancel(t.Context())
			var senders sync.WaitGroup
			for i := range 3 {
				senders.Go(func() { push(ctx, r.nodes["n3"], l, uint64(i)) })
			}
			select {
			case <-r.nodes["n3"].done:
			case <-time.After(hangs):
				t.Errorf("it was not killed\n%s", r.nodes["n3"].log)
			}
			stop()
			senders.Wait()
			t.Logf("%d acknowledged", len(l.acknowledged))
			for _, id := range []string{"n1", "n2"} {
				r.gives(id, l.acknowledged)
			}
			checkRound(t, r.nodes["n1"], l)
			r.start("n3", flags...)
			r.gives("n3", l.acknowledged)
			r.settled()
			checkRound(t, r.nodes["n2"], l)
		})
	}
}

// TestANodeIsReplaced: a node whose disk is gone is removed with one command,
// another joins with one, and all is on two nodes again, with what it held.
func TestANodeIsReplaced(t *testing.T) {
	t.Parallel() // it waits more than it works
	r := newRegion(t)
	flags := []string{"--takeover-after", "1h", "--grace", "1s"} // nothing but the removal takes over
	for _, id := range []string{"n1", "n2", "n3"} {
		r.start(id, flags...)
	}
	r.voting()
	l := newLedger()
	for i, id := range []string{"n1", "n2", "n3"} {
		study := dicomtest.NewStudy(dicomtest.Options{Seed: uint64(i + 1), Modality: "CR", Instances: 20})
		if !pushSTOW(t.Context(), r.nodes[id], l, study.Instances) {
			t.Fatal("push failed")
		}
	}
	if len(l.acknowledged) != 60 {
		t.Fatalf("%d are acknowledged", len(l.acknowledged))
	}
	r.nodes["n2"].kill()
	if err := os.RemoveAll(filepath.Join(r.dir, "n2")); err != nil {
		t.Fatal(err)
	}
	delete(r.nodes, "n2")
	r.leader("n1")
	if out, code := r.cluster("n1", "remove", "n2"); code != exitOK {
		t.Fatal(out)
	}
	delete(r.peers, "n2")
	r.start("n4", flags...)
	r.voting()
	for id := range r.nodes {
		r.gives(id, l.acknowledged)
	}
	// Now each of those that hold an instance may go.
	for _, p := range r.nodes {
		for _, name := range []string{"cigogne_retired_journals", "cigogne_copies_waiting", "cigogne_copies_lacking_bytes"} {
			p.eventually(name+" is 0", func() bool { return says(p, name, "0") })
		}
		p.eventually("it is copied", func() bool { return says(p, "cigogne_copies_live", "1") })
	}
	r.nodes["n1"].kill()
	for _, id := range []string{"n3", "n4"} {
		r.gives(id, l.acknowledged)
	}
}
