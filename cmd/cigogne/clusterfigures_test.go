package main

import (
	"bytes"
	"context"
	"flag"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

var clusterFigures = flag.Duration("cluster.figures", 0, "take figures of a cluster beside a node alone, each for so long (3s, say)")

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
