package copies

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Timing is how soon things are noticed. Zeros mean the defaults.
type Timing struct {
	// Beat is how often each end shows that it is there: 250 ms.
	Beat time.Duration
	// Silence is after how long without a sign of the other end another is
	// taken in its place: 1.5 s.
	Silence time.Duration
	// Stall is how long the other end may take in nothing of what it was sent,
	// though it is there: 5 s.
	Stall time.Duration
	// Grace is for how long there may be too few copies before instances are
	// refused at once: 3 s. Until then they wait.
	Grace time.Duration
}

func (t Timing) withDefaults() Timing {
	for _, d := range []struct {
		to *time.Duration
		is time.Duration
	}{
		{&t.Beat, 250 * time.Millisecond}, {&t.Silence, 1500 * time.Millisecond},
		{&t.Stall, 5 * time.Second}, {&t.Grace, 3 * time.Second},
	} {
		if *d.to <= 0 {
			*d.to = d.is
		}
	}
	return t
}

// wire is a connection on which several goroutines write frames, and one
// reads.
type wire struct {
	conn   net.Conn
	frames *frameReader
	timing Timing
	read   atomic.Int64 // bytes received

	mu  sync.Mutex
	buf []byte
}

func newWire(c net.Conn, t Timing) *wire {
	w := &wire{conn: c, timing: t}
	w.frames = newFrameReader(&counted{w})
	return w
}

// counted counts what is read.
type counted struct{ w *wire }

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.w.conn.Read(p)
	c.w.read.Add(int64(n))
	return n, err
}

// send writes one frame, or fails when the other end takes nothing in for
// Stall.
func (w *wire) send(f frame) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = f.append(w.buf[:0])
	if err := w.conn.SetWriteDeadline(time.Now().Add(w.timing.Stall)); err != nil {
		return err
	}
	_, err := w.conn.Write(w.buf)
	return err
}

// next reads one frame, or fails when none comes within d.
func (w *wire) next(d time.Duration) (frame, error) {
	if err := w.conn.SetReadDeadline(time.Now().Add(d)); err != nil {
		return frame{}, err
	}
	return w.frames.next()
}
