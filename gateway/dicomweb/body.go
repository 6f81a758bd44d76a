package dicomweb

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/esante-alsace/cigogne/storage"
)

// progress is how much a sender must deliver within Limits.ReadStall.
const progress = 16 << 10

// requestBody reads the body of a request under a deadline that moves ahead as
// long as the sender delivers, and up to a length. Only the time spent waiting
// for the sender counts, not that which this node takes to store.
type requestBody struct {
	src     io.Reader
	control *http.ResponseController
	stall   time.Duration
	waited  time.Duration // for the current stretch of progress
	got     int           // of the current stretch
	left    int64
}

func (s *service) newBody(w *answer, r *http.Request) *requestBody {
	return &requestBody{src: r.Body, control: w.control, stall: s.Limits.ReadStall, left: s.Limits.MaxStore}
}

// Read implements io.Reader. An error wraps storage.ErrTooLarge for a body
// that is longer than allowed, and os.ErrDeadlineExceeded for a stalled one.
func (b *requestBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, b.beyond()
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	began := time.Now()
	_ = b.control.SetReadDeadline(began.Add(b.stall - b.waited)) // see answer.roll
	n, err := b.src.Read(p)
	b.waited += time.Since(began)
	b.left -= int64(n)
	if b.got += n; b.got >= progress {
		b.got, b.waited = 0, 0
	}
	if errors.Is(err, io.EOF) {
		// net/http now listens for the client to go away: that must not end
		// with the deadline of a body that is complete.
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// beyond tells a body that ends at the limit from one that goes on.
func (b *requestBody) beyond() error {
	var one [1]byte
	n, err := b.src.Read(one[:])
	if n == 0 && err != nil {
		return err
	}
	return fmt.Errorf("%w: the request body is longer than this node takes", storage.ErrTooLarge)
}
