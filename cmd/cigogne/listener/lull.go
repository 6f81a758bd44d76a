package listener

import (
	"net"
	"net/http"
	"runtime"
	"sync/atomic"
	"time"
)

// lullTime is how long the next request of a connection is waited for in the
// kernel. What else would run on the same processor may have to wait as long.
const lullTime = time.Millisecond

// lull lets one connection at a time wait in the kernel for its next request,
// while no other has one under way and all is quiet. A client that
// asks for one instance after the other has its next request come within a
// fraction of a millisecond. To be woken for it by the runtime's poller, and
// with all of the runtime, which rests when nothing runs, takes a tenth of the
// time of a request for 0.5 MB.
type lull struct {
	quiet    func() bool  // nothing but requests is at work
	underWay atomic.Int64 // connections with a request
	taken    atomic.Bool
}

func newLull(quiet func() bool) *lull {
	processors := runtime.GOMAXPROCS(0)
	return &lull{quiet: func() bool { return processors > 1 && quiet() }}
}

// enter tells whether the caller may wait, and must leave.
func (l *lull) enter() bool {
	return l.underWay.Load() == 0 && l.quiet() && l.taken.CompareAndSwap(false, true)
}

func (l *lull) leave() { l.taken.Store(false) }

// ConnState is the http.Server's ConnState: it tells connections of a Listener
// in which state they are.
func ConnState(c net.Conn, s http.ConnState) {
	b, ok := c.(*tcpConn)
	if !ok {
		return
	}
	was := http.ConnState(b.state.Swap(int64(s)))
	if was == s {
		return
	}
	if was == http.StateActive {
		b.lull.underWay.Add(-1)
	}
	if s == http.StateActive {
		b.lull.underWay.Add(1)
	}
}

// Read implements net.Conn.
func (c *tcpConn) Read(p []byte) (int, error) {
	if http.ConnState(c.state.Load()) == http.StateIdle && c.lull.enter() {
		awaitInKernel(c.TCPConn, lullTime)
		c.lull.leave()
	}
	return c.TCPConn.Read(p)
}
