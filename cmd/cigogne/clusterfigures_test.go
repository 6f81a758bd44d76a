package main

import (
	"bytes"
	"context"
	"flag"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

var (
	clusterFigures   = flag.Duration("cluster.figures", 0, "take figures of a cluster beside a node alone, each for so long (3s, say)")
	clusterFailovers = flag.Int("cluster.failovers", 0, "how often to kill the leader, and to stop it, to see how soon the others acknowledge (50, say)")
)

// TestClusterFigures measures what copies cost: C-STORE of CT slices (526 KB)
// to a node that stands alone, to one node of three, and to all three. It
// judges nothing.
func TestClusterFigures(t *testing.T) {
	if *clusterFigures == 0 {
		t.Skip("-cluster.figures 3s")
	}
	alone := serve(t, t.TempDir(), "--settle", "1h")
	r := newRegion(t)
	for _, id := range []string{"n1", "n2", "n3"} {
		r.start(id)
	}
	r.voting()
	all := []*process{r.nodes["n1"], r.nodes["n2"], r.nodes["n3"]}
	seed := uint64(0)
	for _, associations := range []int{1, 4, 16} {
		for range 3 {
			rates := make([]float64, 3)
			for i, to := range [][]*process{{alone}, all[:1], all} {
				seed++
				rates[i] = storeRate(t, to, associations, seed)
			}
			t.Logf("%2d associations: alone %6.1f, to one of three %6.1f (%.2f), to three %6.1f instances/s (%.2f)",
				associations, rates[0], rates[1], rates[1]/rates[0], rates[2], rates[2]/rates[0])
		}
	}
}

// storeRate is how many instances are acknowledged in a second.
func storeRate(t *testing.T, to []*process, associations int, seed uint64) float64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), *clusterFigures)
	defer cancel()
	var stored atomic.Int64
	var senders sync.WaitGroup
	start := time.Now()
	for i := range associations {
		study := dicomtest.NewStudy(dicomtest.Options{Seed: seed*100 + uint64(i), Instances: 4000})
		body := study.Instances[0].DataSet()
		uid := []byte(study.Instances[0].SOPInstanceUID)
		at := bytes.Index(body, uid)
		senders.Go(func() {
			a, err := associate(ctx, to[i%len(to)].dimse, 1, study.Instances[0])
			if err != nil {
				t.Error(err)
				return
			}
			defer a.Abort()
			for _, in := range study.Instances {
				if len(in.SOPInstanceUID) != len(uid) {
					continue // the bytes are made once, and have another name each time
				}
				copy(body[at:], in.SOPInstanceUID)
				if cstore(ctx, a, in, bytes.NewReader(body)) != nil {
					return
				}
				stored.Add(1)
			}
		})
	}
	senders.Wait()
	return float64(stored.Load()) / time.Since(start).Seconds()
}

// TestFailoverFigures measures how long after the leader is gone each of the
// others acknowledges an instance that was sent to it since, by C-STORE and by
// STOW-RS, which answers when any node finds it. It judges nothing.
func TestFailoverFigures(t *testing.T) {
	if *clusterFailovers == 0 {
		t.Skip("-cluster.failovers 50")
	}
	for _, way := range []string{"killed", "stopped"} {
		r := newRegion(t)
		flags := []string{"--takeover-after", "1h"} // what is measured comes before a takeover
		for _, id := range []string{"n1", "n2", "n3"} {
			r.start(id, flags...)
		}
		r.voting()
		took := map[string][]time.Duration{}
		for round := range *clusterFailovers {
			leader := r.leader("n1")
			if way == "killed" {
				r.nodes[leader].kill()
			} else {
				r.signal(leader, syscall.SIGSTOP)
			}
			for protocol, d := range r.failover(leader, uint64(round)) {
				took[protocol] = append(took[protocol], d...)
			}
			if way == "killed" {
				r.start(leader, flags...)
			} else {
				r.signal(leader, syscall.SIGCONT)
			}
			r.voting()
			for _, p := range r.nodes {
				p.eventually("it is copied", func() bool {
					return says(p, "cigogne_copies_live", "1") && says(p, "cigogne_copies_lacking_bytes", "0")
				})
			}
		}
		for protocol, d := range took {
			slices.Sort(d)
			at := func(share float64) time.Duration { return d[int(share*float64(len(d)-1))].Round(time.Millisecond) }
			t.Logf("leader %s, %d times: next %s acknowledged at each other node: p50 %s, p99 %s, at most %s",
				way, *clusterFailovers, protocol, at(0.5), at(0.99), at(1))
		}
	}
}

// failover is how long from now each node but one takes to acknowledge.
func (r *cohort) failover(gone string, seed uint64) map[string][]time.Duration {
	r.t.Helper()
	var mu sync.Mutex
	took := map[string][]time.Duration{}
	start := time.Now()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	var senders sync.WaitGroup
	for id, p := range r.nodes {
		if id == gone {
			continue
		}
		for protocol, send := range map[string]func(dicomtest.Instance) bool{
			"C-STORE": func(in dicomtest.Instance) bool { return storeOnce(ctx, p, in) },
			"STOW-RS": func(in dicomtest.Instance) bool {
				l := newLedger()
				return pushSTOW(ctx, p, l, []dicomtest.Instance{in}) && len(l.acknowledged) == 1
			},
		} {
			seed++
			study := dicomtest.NewStudy(dicomtest.Options{Seed: seed<<8 + uint64(id[1])<<32, Modality: "CR", Instances: 1})
			senders.Go(func() {
				for !send(study.Instances[0]) {
					if ctx.Err() != nil {
						r.t.Errorf("%s at %s: nothing is acknowledged", protocol, id)
						return
					}
				}
				mu.Lock()
				defer mu.Unlock()
				took[protocol] = append(took[protocol], time.Since(start))
			})
		}
	}
	senders.Wait()
	return took
}

func storeOnce(ctx context.Context, p *process, in dicomtest.Instance) bool {
	a, err := associate(ctx, p.dimse, 1, in)
	if err != nil {
		return false
	}
	defer a.Abort()
	return cstore(ctx, a, in, bytes.NewReader(in.DataSet())) == nil
}
