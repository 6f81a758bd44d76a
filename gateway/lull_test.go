package gateway_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/index"
)

// TestGrowingSeries: what is being received is not written a second time
// meanwhile. Of a series that goes on growing full packs are written after a
// quarter of the time in which it would be quiet, or at once when the journal
// needs room; the rest when it is quiet.
func TestGrowingSeries(t *testing.T) {
	n := open(t, t.TempDir(), mem.New())
	study := tiny(1, 60)
	n.mustStore(study.Instances...)
	n.expect(study.StudyInstanceUID, study.Instances...)

	now, pressed := time.Now(), false
	archiver := gateway.NewArchiver(gateway.ArchiverOptions{
		Index: n.index, Proposer: n.proposer, Journal: n.journal, Indexer: n.indexer, Archive: n.archive,
		SpoolDir: t.TempDir(), PackMembers: 25, PackBytes: 1 << 20, Settle: time.Hour, Logger: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return now }, Pressed: func() bool { return pressed },
	})
	for _, step := range []struct {
		what  string
		after time.Duration
		live  int
	}{
		{"as it comes", 0, 60},
		{"within a quarter of the time", 10 * time.Minute, 60},
		{"after a quarter of the time", 10 * time.Minute, 10},
		{"while the journal has room", 10 * time.Minute, 10},
		{"when it is quiet", time.Hour, 0},
	} {
		now = now.Add(step.after)
		if err := archiver.Pass(t.Context()); err != nil {
			t.Fatal(err)
		}
		live, err := n.index.Where(t.Context(), index.Selector{StudyInstanceUID: study.StudyInstanceUID})
		if err != nil || len(live) != step.live {
			t.Errorf("%s: %d instances are not archived, want %d: %v", step.what, len(live), step.live, err)
		}
	}
	n.expect(study.StudyInstanceUID, study.Instances...)

	other := tiny(2, 30)
	n.mustStore(other.Instances...)
	n.expect(other.StudyInstanceUID, other.Instances...)
	now, pressed = time.Now(), true
	if err := archiver.Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	if live, err := n.index.Where(t.Context(), index.Selector{StudyInstanceUID: other.StudyInstanceUID}); err != nil || len(live) != 0 {
		t.Errorf("when the journal needs room: %d instances are not archived: %v", len(live), err)
	}
}
