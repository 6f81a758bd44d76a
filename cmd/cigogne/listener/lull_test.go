package listener

import (
	"net"
	"net/http"
	"testing"
	"time"
)

// TestLull: one waits at a time, while nobody has a request under way.
func TestLull(t *testing.T) {
	l := &lull{quiet: func() bool { return true }}
	conns := []*tcpConn{{lull: l}, {lull: l}}
	for i, step := range []struct {
		conn  int
		state http.ConnState
		want  bool // that who is idle may wait
	}{
		{0, http.StateNew, true},
		{0, http.StateActive, false},
		{1, http.StateActive, false},
		{0, http.StateIdle, false},
		{1, http.StateIdle, true},
		{1, http.StateIdle, true},
		{0, http.StateActive, false},
		{0, http.StateClosed, true},
		{1, http.StateActive, false},
		{1, http.StateHijacked, true},
	} {
		ConnState(conns[step.conn], step.state)
		got := l.enter()
		if got != step.want {
			t.Errorf("step %d: %d is %v: enter %v", i, step.conn, step.state, got)
		}
		if got && l.enter() {
			t.Errorf("step %d: two wait", i)
		}
		if got {
			l.leave()
		}
	}
	if newLull(func() bool { return false }).enter() {
		t.Error("waits while something else is at work")
	}
}

// TestAwaitInKernel: it ends with its time when nothing comes, and with what
// comes, which is then read. Only who is idle asks for it.
func TestAwaitInKernel(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	l := Bound(inner, Options{Most: 1, MostOfHost: 1})
	l.lull = &lull{quiet: func() bool { asked++; return true }}
	defer l.Close()
	there, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	here := c.(*tcpConn)
	awaitInKernel(here.TCPConn, lullTime)
	for i, state := range []http.ConnState{http.StateNew, http.StateIdle, http.StateIdle, http.StateActive} {
		ConnState(here, state)
		b := "abcd"[i]
		if _, err := there.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
		awaitInKernel(here.TCPConn, time.Hour)
		got := make([]byte, 2)
		if n, err := here.Read(got); n != 1 || got[0] != b || err != nil {
			t.Errorf("read %q, %v, not %q", got[:n], err, b)
		}
	}
	if asked != 2 {
		t.Errorf("asked for %d times, not by the two that were idle", asked)
	}
	if l.lull.taken.Load() {
		t.Error("nobody waits, and nobody may")
	}
}
