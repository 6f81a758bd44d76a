package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

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
	to, began := storage.Origin{Transport: "wado", RemoteAddr: "10.0.0.1"}, time.Now().Add(-time.Second)
	for range 3 {
		r.Sent(Sending{To: to, Study: "1.2", Series: "1.3", Instances: 2, Bytes: 100, Began: began})
	}
	r.Sent(Sending{To: storage.Origin{Transport: "grpc"}, Study: "1.2", Series: "1.3", Instances: 1, Bytes: 50, Began: began.Add(time.Microsecond)})
	r.Sent(Sending{To: to, Study: "1.2", Series: "1.3", Bytes: 7, Began: began.Add(time.Millisecond), Cut: true})
	r.flush(t.Context())
	if len(taken.batches) != 1 || len(taken.batches[0].Notes) != 3 {
		t.Fatalf("%+v", taken.batches)
	}
	if n := taken.batches[0].Notes[0]; n.Instances != 6 || n.Bytes != 300 || n.Origin != to || n.Last < n.First || n.Took < int64(3*time.Second) {
		t.Errorf("%+v", n)
	}
	if n := taken.batches[0].Notes[2]; n.Kind != index.EventCut || n.Instances != 0 || n.Bytes != 7 {
		t.Errorf("what was cut: %+v", n)
	}
	taken.err = storage.ErrUnavailable
	for i := range noteMost + 100 {
		r.Sent(Sending{To: to, Study: "1.2", Series: fmt.Sprintf("1.%d", i), Instances: 1, Bytes: 1, Began: began})
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
