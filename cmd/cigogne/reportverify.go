package main

import (
	"context"
	"fmt"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/rpc"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

const (
	// tellEvery is how often a verification that finds nothing tells how far
	// it is, and packList how many packs are read from the index at once.
	tellEvery = time.Second
	packList  = 64
)

// Verify implements rpc.Node. Packs are verified one after the other, and
// what was found is told after each.
func (r *report) Verify(ctx context.Context, v rpc.Verify, tell func([]gateway.Finding, gateway.Verified) error) error {
	if !r.verifying.TryLock() {
		return fmt.Errorf("%w: the node verifies or repairs already", storage.ErrUnavailable)
	}
	defer r.verifying.Unlock()
	slow, all, err := r.archives.Paced(v.Rate, nil)
	if err != nil {
		return err
	}
	if v.Repair && all == nil {
		return fmt.Errorf("%w: there is one archive, and nothing to repair it from", storage.ErrUnsupported)
	}
	var found []gateway.Finding
	o := gateway.VerifierOptions{
		Index: r.index, Archives: slow, Instances: true, Finding: func(f gateway.Finding) { found = append(found, f) },
	}
	if v.Repair {
		o.Repair, o.Proposer = all, r.proposer
	}
	verifier := gateway.NewVerifier(o)
	told := time.Now()
	err = r.eachPack(ctx, v.StudyInstanceUID, func(p index.Pack) error {
		if _, err := verifier.Pack(ctx, p); err != nil {
			return err
		}
		if len(found) == 0 && time.Since(told) < tellEvery {
			return nil
		}
		told = time.Now()
		err := tell(found, verifier.Done())
		found = nil
		return err
	})
	if err != nil {
		return err
	}
	return tell(found, verifier.Done())
}

// eachPack calls do with the archived packs of a study, or with all.
func (r *report) eachPack(ctx context.Context, study string, do func(index.Pack) error) error {
	if study != "" {
		packs, err := r.index.Packs(ctx, index.Selector{StudyInstanceUID: study})
		for i := 0; err == nil && i < len(packs); i++ {
			err = do(packs[i])
		}
		return err
	}
	for after := int64(0); ; {
		packs, last, err := r.index.PacksAfter(ctx, after, packList)
		if err != nil || len(packs) == 0 {
			return err
		}
		for _, p := range packs {
			if err := do(p); err != nil {
				return err
			}
		}
		after = last
	}
}
