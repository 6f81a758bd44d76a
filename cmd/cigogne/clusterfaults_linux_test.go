package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

var clusterTrouble = flag.Duration("cluster.trouble", 0, "how long TestClusterUnderFaults makes trouble (8s, with -short 3s)")

// TestClusterUnderFaults: while three processes are pushed to and asked by
// several clients, they are cut off, made deaf or mute, slowed, stopped and
// killed, and their disks are slow. No session that goes from node to node
// misses what was acknowledged before, gets other bytes, sees anything twice,
// or goes back in time; and in the end every node gives all that was ever
// acknowledged, once.
func TestClusterUnderFaults(t *testing.T) {
	t.Parallel() // it waits more than it works
	trouble := *clusterTrouble
	if trouble == 0 {
		trouble = 8 * time.Second
		if testing.Short() {
			trouble = 3 * time.Second
		}
	}
	t.Logf("-cluster.seed %d", *clusterSeed)
	network := newLines(t)
	r := newRegion(t)
	r.relays = network.before
	f := &fleet{}
	d := &disturber{
		cohort: r, network: network, fleet: f, ids: []string{"n1", "n2", "n3"},
		flags:  []string{"--settle", "300ms", "--takeover-after", "2s", "--grace", "1s"},
		random: rand.New(rand.NewPCG(*clusterSeed, 2)),
	}
	for _, id := range d.ids {
		f.nodes = append(f.nodes, r.start(id, d.flags...))
	}
	r.voting()
	h := &history{t: t, fleet: f, ledger: newLedger(), findable: map[string][]string{}}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var clients sync.WaitGroup
	for i := range uint64(4) {
		clients.Go(func() { h.store(ctx, rand.New(rand.NewPCG(*clusterSeed, 100+i))) })
		clients.Go(func() { h.ask(ctx, rand.New(rand.NewPCG(*clusterSeed, 200+i))) })
	}
	h.begun()
	d.trouble(trouble)
	stop()
	clients.Wait()
	t.Logf("%d instances acknowledged, %d answers checked, %d of them bounded, %d instances read", len(h.acknowledged), h.answers, h.bounded, h.reads)
	r.gives(d.ids[0], h.acknowledged)
	r.settled()
	for _, id := range d.ids {
		r.gives(id, h.acknowledged)
		h.complete(r.nodes[id])
	}
	for _, id := range d.ids {
		r.nodes[id].stop()
		fsck(t, filepath.Join(r.dir, id), "--archive", "dir://"+filepath.Join(r.dir, "archive"))
	}
	if t.Failed() {
		for _, id := range d.ids {
			t.Logf("%s\n%s", id, r.nodes[id].log)
		}
	}
}

// disturber makes trouble.
type disturber struct {
	*cohort
	network *lines
	fleet   *fleet
	ids     []string
	flags   []string
	random  *rand.Rand
}

// trouble makes one fault after the other; in the end all is well again.
func (d *disturber) trouble(long time.Duration) {
	d.t.Helper()
	began := time.Now()
	for time.Since(began) < long && !d.t.Failed() {
		a := d.ids[d.random.IntN(3)]
		b := d.ids[(slices.Index(d.ids, a)+1+d.random.IntN(2))%3]
		hold := time.Duration(100+d.random.IntN(2500)) * time.Millisecond
		what, over := d.fault(d.random.IntN(12), a, b)
		d.t.Logf("%5.1fs: %s for %v", time.Since(began).Seconds(), what, hold)
		<-time.After(hold)
		over()
		if d.random.IntN(4) > 0 {
			d.network.Heal()
			<-time.After(time.Duration(d.random.IntN(600)) * time.Millisecond)
		}
	}
	d.network.Heal()
}

// fault makes one fault and says which; what it returns ends it, unless it is
// one of the network.
func (d *disturber) fault(which int, a, b string) (what string, over func()) {
	over = func() {}
	switch which {
	case 0, 1:
		if leads := d.leads(); leads != "" {
			a = leads
		}
		what = a + ", which leads, is cut off"
		d.network.Isolate(a)
	case 2:
		what = a + " is cut off"
		d.network.Isolate(a)
	case 3:
		what = "nothing passes from " + a + " to " + b
		d.network.Cut(a, b)
	case 4:
		what = a + " is heard by nobody"
		for _, other := range d.ids {
			d.network.Cut(a, other)
		}
	case 5:
		what = a + " hears nobody"
		for _, other := range d.ids {
			d.network.Cut(other, a)
		}
	case 6:
		what = "the connections between " + a + " and " + b + " are forgotten"
		d.network.HalfOpen(a, b)
	case 7:
		what = "the way between " + a + " and " + b + " is long"
		d.network.Delay(a, b, time.Duration(d.random.IntN(60))*time.Millisecond)
	case 8:
		by := time.Duration(200+d.random.IntN(1800)) * time.Millisecond
		what = fmt.Sprintf("the disk of %s takes %v", a, by)
		if heal := slowDisk(d.t, d.nodes[a], by); heal != nil {
			over = heal
		}
	case 9:
		what = a + " stands still"
		d.signal(a, syscall.SIGSTOP)
		over = func() { d.signal(a, syscall.SIGCONT) }
	case 10:
		what = a + " is killed"
		over = d.kill(a)
	case 11:
		what = "all are killed"
		over = d.kill(d.ids...)
	}
	return what, over
}

// kill kills nodes; they start again when the network is as it should be,
// which a node may need to begin.
func (d *disturber) kill(ids ...string) (again func()) {
	for _, id := range ids {
		d.nodes[id].kill()
	}
	return func() {
		d.network.Heal()
		d.startAll(ids, d.flags...)
		for _, id := range ids {
			d.fleet.put(slices.Index(d.ids, id), d.nodes[id])
		}
	}
}

// leads is the node that leads, as far as any says, or "".
func (d *disturber) leads() string {
	for _, id := range d.ids {
		for _, s := range d.status(id) {
			if s.State == "leader" {
				return s.ID
			}
		}
	}
	return ""
}
