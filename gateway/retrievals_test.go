package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

type notesTaken struct {
	batches []index.Batch
	err     error
}

func (n *notesTaken) Propose(_ context.Context, b index.Batch) error {
	n.batches = append(n.batches, b)
	return errors.Join(n.err, b.Validate())
}

// TestRetrievals: what is sent again to the same is one note; however much is
// sent, what is held is bounded, and a batch that is not taken is not kept.
func TestRetrievals(t *testing.T) {
	taken := &notesTaken{}
	r := NewRetrievals(taken, slog.New(slog.DiscardHandler))
	to := storage.Origin{Transport: "wado", RemoteAddr: "10.0.0.1"}
	for range 3 {
		r.Sent(to, "1.2", "1.3", 2, 100)
	}
	r.Sent(storage.Origin{Transport: "grpc"}, "1.2", "1.3", 1, 50)
	r.flush(t.Context())
	if len(taken.batches) != 1 || len(taken.batches[0].Notes) != 2 {
		t.Fatalf("%+v", taken.batches)
	}
	if n := taken.batches[0].Notes[0]; n.Instances != 6 || n.Bytes != 300 || n.Origin != to || n.Last < n.First {
		t.Errorf("%+v", n)
	}
	taken.err = storage.ErrUnavailable
	for i := range noteMost + 100 {
		r.Sent(to, "1.2", fmt.Sprintf("1.%d", i), 1, 1)
	}
	if len(r.by) != noteMost || r.lost != 100 {
		t.Errorf("%d are held, %d left out", len(r.by), r.lost)
	}
	r.flush(t.Context())
	if len(r.by) != 0 {
		t.Errorf("%d are held after a batch that was not taken", len(r.by))
	}
	taken.batches = nil
	r.flush(t.Context())
	if len(taken.batches) != 0 {
		t.Error("nothing is proposed")
	}
}
