package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// fleet is the nodes as those who push see them: addresses change when a node
// starts again.
type fleet struct {
	mu    sync.Mutex
	nodes []*process
}

func (f *fleet) at(i int) *process {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.nodes[i%len(f.nodes)]
}

func (f *fleet) put(i int, p *process) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nodes[i] = p
}

// TestRollingRestart drains, stops and starts every node while they are pushed
// to. A client that is refused asks the next node, as clients do, and so gets
// everything stored; an association that was there when its node was drained
// goes on to its end.
func TestRollingRestart(t *testing.T) {
	if testing.Short() {
		t.Skip("restarts a cluster under load")
	}
	t.Parallel()
	r := newRegion(t)
	f := &fleet{}
	ids := []string{"n1", "n2", "n3"}
	for _, id := range ids {
		f.nodes = append(f.nodes, r.start(id))
	}
	r.voting()
	l := newLedger()
	ctx, stop := context.WithCancel(t.Context())
	var senders sync.WaitGroup
	for i := range 3 {
		senders.Go(func() { retrying(ctx, t, f, l, uint64(500+i)) })
	}
	<-l.first
	for i, id := range ids {
		other := ids[(i+1)%3]
		study := dicomtest.NewStudy(dicomtest.Options{Seed: uint64(900 + i), Modality: "CR", Instances: 3})
		a, err := associate(t.Context(), f.at(i).dimse, 1, study.Instances[0])
		if err != nil {
			t.Fatal(err)
		}
		if out, code := r.cluster(other, "drain", id); code != exitOK {
			t.Fatal(out)
		}
		if b, err := associate(t.Context(), f.at(i).dimse, 1, study.Instances[0]); err == nil {
			b.Abort()
			t.Errorf("%s drains and takes an association", id)
		}
		for _, in := range study.Instances {
			if err := cstore(t.Context(), a, in, bytes.NewReader(l.send(in))); err != nil {
				t.Fatalf("the association that %s had when it was drained: %v", id, err)
			}
			l.acknowledge(in)
		}
		if err := a.Release(t.Context()); err != nil {
			t.Errorf("release: %v", err)
		}
		f.at(i).eventually("no associations are left", func() bool {
			var d struct{ Associations *int }
			err := json.Unmarshal(r.status(other)[id].Detail, &d)
			return err == nil && d.Associations != nil && *d.Associations == 0
		})
		f.at(i).stop()
		f.put(i, r.start(id))
		f.at(i).ready()
		r.voting()
	}
	stop()
	senders.Wait()
	t.Logf("%d instances were acknowledged during three restarts", len(l.acknowledged))
	for _, id := range ids {
		checkSome(t, r.nodes[id], l.acknowledged, len(l.acknowledged), nil)
	}
}

// retrying stores one instance after the other by STOW-RS, at whichever node
// takes it.
func retrying(ctx context.Context, t *testing.T, f *fleet, l *ledger, seed uint64) {
	study := dicomtest.NewStudy(dicomtest.Options{Seed: seed, Modality: "CR", Instances: 2000})
	for i, in := range study.Instances {
		if ctx.Err() != nil {
			return
		}
		file := append(dicomtest.FileMeta(in.SOPClassUID, in.SOPInstanceUID, in.TransferSyntaxUID), l.send(in)...)
		until := time.Now().Add(hangs)
		for try := i; ; try++ {
			status, stored, err := stow(t.Context(), f.at(try).web, file)
			if err == nil && status == http.StatusOK && len(stored) == 1 {
				l.acknowledge(in)
				break
			}
			if time.Now().After(until) {
				t.Errorf("no node took %s for %s: %d, %v", in.SOPInstanceUID, hangs, status, err)
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
}
