package workload

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/esante-alsace/cigogne/benchmarks"
	"github.com/esante-alsace/cigogne/benchmarks/material"
	"github.com/esante-alsace/cigogne/benchmarks/result"
	"github.com/esante-alsace/cigogne/benchmarks/subject"
	"github.com/esante-alsace/cigogne/gateway/dimse"
)

// The mixed hospital morning: sites with associations that are open for long,
// four fifths of the instances small, sent in bursts.
const (
	morningSites        = 20
	morningAssociations = 100 // in all
	morningBurst        = 8   // instances that an association sends in a row
)

// mixed writes a series of which every fifth instance is a CT, the others CR.
func mixed(dir string, n int, seed uint64) (*material.Series, error) {
	large, err := material.Write(dir+"/ct", material.Kind{Modality: "CT"}, (n+4)/5, seed)
	if err != nil {
		return nil, err
	}
	small, err := material.Write(dir+"/cr", material.Kind{Modality: "CR"}, n-len(large.Instances), seed+1)
	if err != nil {
		return nil, err
	}
	s := &material.Series{Dir: dir, Instances: append(large.Instances, small.Instances...)}
	r := rand.New(rand.NewPCG(seed, 1))
	r.Shuffle(len(s.Instances), func(i, j int) { s.Instances[i], s.Instances[j] = s.Instances[j], s.Instances[i] })
	return s, nil
}

// morning opens all associations, and has them send burst by burst, whichever
// comes first.
func morning(ctx context.Context, r benchmarks.Round) (benchmarks.Work, error) {
	all := make([]*dimse.Association, 0, morningAssociations)
	defer func() {
		for _, a := range all {
			a.Abort()
		}
	}()
	for n := range morningAssociations {
		a, err := dimse.Dial(ctx, r.At.DIMSE, morningConfig(r.At, n%morningSites, r.Series.Instances))
		if err != nil {
			return benchmarks.Work{}, fmt.Errorf("association %d: %w", n+1, err)
		}
		all = append(all, a)
	}
	var next atomic.Int64
	var times latencies
	g, gctx := errgroup.WithContext(ctx)
	began := time.Now()
	for _, a := range all {
		g.Go(func() error { return bursts(gctx, a, r.Series.Instances, &next, &times) })
	}
	err := g.Wait()
	return benchmarks.Work{
		Bytes: r.Series.Bytes(), Units: len(r.Series.Instances), Elapsed: time.Since(began), More: times.measures(),
	}, err
}

func morningConfig(at subject.Endpoints, site int, instances []material.Instance) dimse.SCUConfig {
	c := dimse.SCUConfig{CallingAETitle: fmt.Sprintf("SITE%02d", site), CalledAETitle: at.AETitle}
	known := map[string]bool{}
	for i := range instances {
		if class := instances[i].SOPClassUID; !known[class] {
			known[class] = true
			c.Contexts = append(c.Contexts, dimse.ProposedContext{AbstractSyntax: class, TransferSyntaxes: []string{instances[i].TransferSyntaxUID}})
		}
	}
	return c
}

func bursts(ctx context.Context, a *dimse.Association, all []material.Instance, next *atomic.Int64, times *latencies) error {
	for {
		from := next.Add(morningBurst) - morningBurst
		if from >= int64(len(all)) {
			return nil
		}
		for i := from; i < min(from+morningBurst, int64(len(all))); i++ {
			began := time.Now()
			if err := storeOne(ctx, a, &all[i]); err != nil {
				return err
			}
			times.add(time.Since(began), time.Since(began))
		}
	}
}

func (s Settings) morning() benchmarks.Workload {
	return benchmarks.Workload{
		Name: "morning", Title: "100 associations from 20 sites, four fifths of the instances small, in bursts",
		Primary: result.Instances, Unit: result.Instances, Amount: 4 * s.Instances, Material: mixed,
		Cases: []benchmarks.Case{
			{Subject: s.ours(), Drive: morning},
			{Subject: s.bare(true), Drive: morning},
			{Subject: s.oursNoFsync(), Drive: morning},
			{Subject: subject.Orthanc{NoDelay: true, Associations: morningAssociations}, Drive: morning},
		},
	}
}
