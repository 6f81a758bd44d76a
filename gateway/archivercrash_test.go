package gateway_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/index"
)

// TestCrashBetweenSteps cuts the archiver off before, in and after each of its
// steps. After a restart each instance is there once, in one pack.
func TestCrashBetweenSteps(t *testing.T) {
	cut := errors.New("cut off")
	planned := func(b index.Batch) error { return ifThen(len(b.Planned) > 0, cut) }
	archived := func(b index.Batch) error { return ifThen(len(b.Archived) > 0, cut) }
	for _, c := range []struct {
		name    string
		arrange func(*node, *faulty)
	}{
		{"before the plan", func(n *node, _ *faulty) { n.proposer.fail(planned, nil) }},
		{"after the plan", func(n *node, _ *faulty) { n.proposer.fail(nil, planned) }},
		{"before the put", func(_ *node, a *faulty) { a.before = cut }},
		{"in the put", func(_ *node, a *faulty) { a.half = cut }},
		{"after the put", func(_ *node, a *faulty) { a.after = cut }},
		{"before it is archived", func(n *node, _ *faulty) { n.proposer.fail(archived, nil) }},
		{"after it is archived", func(n *node, _ *faulty) { n.proposer.fail(nil, archived) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := &faulty{Archive: mem.New()}
			n := open(t, t.TempDir(), a)
			study := tiny(3, 4)
			n.mustStore(study.Instances...)
			if err := n.indexer.Await(t.Context()); err != nil {
				t.Fatal(err)
			}
			c.arrange(n, a)
			if err := n.archiver.Pass(t.Context()); !errors.Is(err, cut) {
				t.Fatalf("the pass was not cut off: %v", err)
			}
			a.before, a.half, a.after = nil, nil, nil
			n = n.again()
			n.expect(study.StudyInstanceUID, study.Instances...)
			n.pass()
			n.pass()
			n.expect(study.StudyInstanceUID, study.Instances...)
			if got := n.packs(); len(got) != 1 {
				t.Errorf("packs %v, want one", got)
			}
			if got := n.unreleased(); got != 0 {
				t.Errorf("the journal still holds %d entries", got)
			}
		})
	}
}

func ifThen(yes bool, err error) error {
	if yes {
		return err
	}
	return nil
}

// faulty is an archive whose Put fails when told so.
type faulty struct {
	archive.Archive
	before, half, after error
}

func (f *faulty) Put(ctx context.Context, key string, src archive.Source) (uint32, error) {
	if f.before != nil {
		return 0, f.before
	}
	if f.half != nil {
		src = halfSource{src, f.half}
	}
	crc, err := f.Archive.Put(ctx, key, src)
	if f.after != nil {
		return 0, f.after
	}
	return crc, err
}

// halfSource fails in the middle.
type halfSource struct {
	archive.Source
	err error
}

func (h halfSource) Open(ctx context.Context, r storage.Range) (io.ReadCloser, error) {
	body, err := h.Source.Open(ctx, r)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(io.LimitReader(body, r.Length/2), broken{h.err}), body}, nil
}

type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }
