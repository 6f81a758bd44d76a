package dimse

import (
	"net"
	"sync"
	"time"
)

// progress is how much must arrive for a renewing deadline to be put off.
const progress = 16 << 10

// wire is a connection with the timers of an association.
type wire struct {
	net.Conn
	acknowledge func() // asks the kernel to acknowledge at once

	mu       sync.Mutex
	stopped  bool
	patience time.Duration // 0: for ever
	renewing bool
	until    time.Time // the read deadline, when patience is not 0

	// Only for the reader.
	moved int
	left  time.Time // when it last stopped reading
}

func newWire(c net.Conn) *wire {
	plain := c
	if secure, ok := c.(interface{ NetConn() net.Conn }); ok {
		plain = secure.NetConn()
	}
	if tcp, ok := plain.(*net.TCPConn); ok {
		_ = tcp.SetNoDelay(true) // it is Go's default, and what all depends on
	}
	return &wire{Conn: c, acknowledge: quickAcknowledge(plain)}
}

// Read reads once. Without the acknowledgement a peer that leaves Nagle's
// algorithm on, as DCMTK does, waits 40 ms for it in each message.
func (w *wire) Read(p []byte) (int, error) {
	w.excuse(time.Now())
	n, err := w.Conn.Read(p)
	w.left = time.Now()
	w.acknowledge()
	if w.moved += n; w.moved >= progress {
		w.renew()
	}
	return n, err
}

// excuse puts off a renewing deadline by the time in which nobody read: then
// it was not the peer's turn, or what it sent lies here unread.
func (w *wire) excuse(now time.Time) {
	away := now.Sub(w.left)
	if w.left.IsZero() || away < time.Millisecond {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.renewing && !w.stopped && w.patience > 0 {
		w.until = w.until.Add(away)
		_ = w.SetReadDeadline(w.until)
	}
}

// allow gives the peer d from now; when renewing, each progress gives it d
// again.
func (w *wire) allow(d time.Duration, renewing bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.patience, w.renewing = d, renewing
	w.set(d)
}

// renew puts off the deadline if it is of the renewing kind.
func (w *wire) renew() {
	w.moved = 0
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.renewing {
		w.set(w.patience)
	}
}

func (w *wire) set(d time.Duration) {
	switch {
	case w.stopped:
	case d == 0:
		_ = w.SetReadDeadline(time.Time{})
	default:
		w.until = time.Now().Add(d)
		_ = w.SetReadDeadline(w.until) // fails only when closed: so will the read
	}
}

// stop makes the reader return now and until resume.
func (w *wire) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	_ = w.SetReadDeadline(time.Unix(1, 0))
}

func (w *wire) resume() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = false
}

func (w *wire) isStopped() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stopped
}

// hangUp closes the connection. There is nobody left to tell of an error.
func (w *wire) hangUp() { _ = w.Close() }
