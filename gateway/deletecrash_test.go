package gateway_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/archive/archivetest"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/index"
)

// TestDeleteCrash cuts the sweeper off before and after each of its steps;
// after a restart it comes to the same end.
func TestDeleteCrash(t *testing.T) {
	cut := errors.New("cut off")
	is := func(s index.DeletionStep) func(index.Batch) error {
		return func(b index.Batch) error { return ifThen(len(b.Deletions) > 0 && b.Deletions[0].Step == s, cut) }
	}
	for _, c := range []struct {
		name    string
		arrange func(*keeping, *stubborn)
	}{
		{"before it is decided", func(k *keeping, _ *stubborn) { k.proposer.fail(is(index.DecideDeletion), nil) }},
		{"after it is decided", func(k *keeping, _ *stubborn) { k.proposer.fail(nil, is(index.DecideDeletion)) }},
		{"before a note", func(_ *keeping, a *stubborn) { a.before = cut }},
		{"after a note", func(_ *keeping, a *stubborn) { a.after = cut }},
		{"before a removal", func(_ *keeping, a *stubborn) { a.removing = cut }},
		{"after a removal", func(_ *keeping, a *stubborn) { a.removed = cut }},
		{"before it is gone", func(k *keeping, _ *stubborn) { k.proposer.fail(is(index.PackGone), nil) }},
		{"after it is gone", func(k *keeping, _ *stubborn) { k.proposer.fail(nil, is(index.PackGone)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := &stubborn{faulty: faulty{Archive: mem.New()}}
			k := keep(t, open(t, t.TempDir(), a), a)
			study, other := tiny(1, 3), tiny(2, 2)
			k.mustStore(study.Instances...)
			k.mustStore(other.Instances...)
			k.pass()
			d := k.delete(study.StudyInstanceUID)
			k.at = k.at.Add(grace + time.Hour)
			c.arrange(k, a)
			if err := k.sweeper.Pass(t.Context()); !errors.Is(err, cut) {
				t.Fatalf("the pass was not cut off: %v", err)
			}
			a.before, a.after, a.removing, a.removed = nil, nil, nil, nil
			k.restart()
			k.expectNothing(study.StudyInstanceUID)
			k.rebuilt().expectNothing(study.StudyInstanceUID)
			k.end()
			k.expectState(d.ID, index.DeletionRemoved)
			if got := objects(t, a, "studies/"+study.StudyInstanceUID); len(got) != 0 {
				t.Errorf("still there: %v", got)
			}
			if got := objects(t, a, "deleted/"); len(got) != 1 {
				t.Errorf("notes %v", got)
			}
			k.expect(other.StudyInstanceUID, other.Instances...)
			k.checked()
		})
	}
}

// stubborn is an archive whose Remove of a pack fails when told so.
type stubborn struct {
	faulty
	removing, removed error
}

func (s *stubborn) Remove(ctx context.Context, key string) error {
	if !strings.HasSuffix(key, ".zip") {
		return s.faulty.Remove(ctx, key)
	}
	if s.removing != nil {
		return s.removing
	}
	return errors.Join(s.faulty.Remove(ctx, key), s.removed)
}

// TestWrittenTooLate: a pack whose writer was so slow that all of it was
// deleted and removed meanwhile does not stay.
func TestWrittenTooLate(t *testing.T) {
	a := &slow{Archive: mem.New(), putting: make(chan struct{}), resume: make(chan struct{})}
	k := keep(t, open(t, t.TempDir(), a), a)
	study := tiny(1, 2)
	k.mustStore(study.Instances...)
	if err := k.indexer.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	passed := make(chan error)
	go func() { passed <- k.archiver.Pass(context.WithoutCancel(t.Context())) }()
	<-a.putting
	d := k.delete(study.StudyInstanceUID)
	k.end()
	k.expectState(d.ID, index.DeletionRemoved)
	close(a.resume)
	if err := <-passed; err != nil {
		t.Fatal(err)
	}
	if got := objects(t, a, "studies/"); len(got) != 0 {
		t.Errorf("still there: %v", got)
	}
	k.pass()
	k.checked()
}

// slow is an archive whose Put of a pack, which is read by then, waits until it
// is told to go on.
type slow struct {
	archive.Archive
	putting, resume chan struct{}
}

func (s *slow) Put(ctx context.Context, key string, src archive.Source) (uint32, error) {
	if !strings.HasSuffix(key, ".zip") {
		return s.Archive.Put(ctx, key, src)
	}
	r, err := src.Open(ctx, storage.Range{Length: src.Size()})
	if err != nil {
		return 0, err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return 0, err
	}
	close(s.putting)
	<-s.resume
	return s.Archive.Put(ctx, key, archivetest.Bytes(b))
}
