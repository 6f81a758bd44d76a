package copies

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"
)

// slowToEnd is a connection whose reader learns of an error only when it may.
type slowToEnd struct {
	net.Conn
	may chan struct{}
}

func (c *slowToEnd) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	return n, c.slowly(err)
}

func (c *slowToEnd) SetReadDeadline(t time.Time) error {
	return c.slowly(c.Conn.SetReadDeadline(t))
}

func (c *slowToEnd) slowly(err error) error {
	if err != nil {
		<-c.may
	}
	return err
}

// TestTheLastComerFeeds: of two that wait for the end of the conversation
// before theirs the one that came last gets in, and the other one is told.
func TestTheLastComerFeeds(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	timing := Timing{Beat: time.Minute}.withDefaults() // nobody is silent for too long
	h, err := OpenHolder(t.Context(), HolderOptions{
		Dir: t.TempDir(), Timing: timing, Logger: log,
		Retired: func(context.Context, string) (bool, error) { return false, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	come := func(session uint64, conn func(net.Conn) net.Conn) *wire {
		near, far := net.Pipe()
		t.Cleanup(func() { near.Close() })
		serving.Go(func() {
			defer far.Close()
			_ = h.Serve(t.Context(), conn(far), "n1") // as it ends
		})
		w := newWire(near, timing)
		if err := w.send(frame{kind: kindHello, hello: hello{journal: [16]byte{1}, session: session, live: true}}); err != nil {
			t.Fatal(err)
		}
		return w
	}
	hears := func(who string, w *wire, want kind) {
		t.Helper()
		if f, err := w.next(time.Minute); err != nil || f.kind != want {
			t.Errorf("%s hears a frame of kind %d, not %d: %v", who, f.kind, want, err)
		}
	}
	first := &slowToEnd{may: make(chan struct{})}
	same := func(c net.Conn) net.Conn { return c }
	hears("the first", come(1, func(c net.Conn) net.Conn { first.Conn = c; return first }), kindExtents)
	waits := func(session uint64) {
		t.Helper()
		k, err := h.open(t.Context(), hello{journal: [16]byte{1}}.id())
		if err != nil {
			t.Fatal(err)
		}
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for end := time.Now().Add(time.Minute); time.Now().Before(end); <-tick.C {
			k.mu.Lock()
			comer := k.session
			k.mu.Unlock()
			if comer == session {
				return
			}
		}
		t.Fatalf("session %d never came", session)
	}
	second := come(2, same)
	waits(2)
	third := come(3, same)
	waits(3)
	close(first.may)
	hears("the third", third, kindExtents)
	hears("the second", second, kindRefused)
	for _, w := range []*wire{second, third} {
		w.conn.Close()
	}
	serving.Wait()
	if err := h.Close(); err != nil {
		t.Error(err)
	}
}
