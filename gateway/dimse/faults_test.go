package dimse_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/dimse"
	"github.com/esante-alsace/cigogne/gateway/dimse/pdu"
)

// quick makes the timers short, but for who has something to send.
func quick(c *dimse.Config) {
	c.ARTIM = time.Second
	c.Idle = time.Minute
}

// expectService makes sure that another client is served.
func expectService(t *testing.T, addr string) {
	t.Helper()
	a, err := tryDial(addr, func(c *dimse.SCUConfig) { c.CallingAETitle = "BYSTANDER" })
	if err != nil {
		t.Fatalf("another client is not served: %v", err)
	}
	defer a.Abort()
	if status, err := a.Echo(t.Context()); err != nil || status != dimse.StatusSuccess {
		t.Fatalf("another client is not served: %s, %v", status, err)
	}
}

// TestHostileWire sends each file of testdata/wire/hostile and expects the
// answer that it names, the end of the connection, and service for others.
func TestHostileWire(t *testing.T) {
	names, err := filepath.Glob("../../testdata/wire/hostile/*.hex")
	if err != nil || len(names) < 30 {
		t.Fatalf("%d fixtures, %v", len(names), err)
	}
	m := newMemory()
	addr, _ := serve(t, m, quick)
	t.Cleanup(func() {
		if len(m.incoming) != 0 {
			t.Errorf("%d instances were received", len(m.incoming))
		}
	})
	var all sync.WaitGroup // each waits for ARTIM
	for _, name := range names {
		all.Go(func() { t.Run(filepath.Base(name), func(t *testing.T) { hostileWire(t, addr, filepath.Base(name)) }) })
	}
	all.Wait()
}

func hostileWire(t *testing.T, addr, name string) {
	b, says := wireFixture(t, filepath.Join("hostile", name))
	var r *raw
	switch says["state"] {
	case "new":
		r = connect(t, addr)
	case "open":
		r = associate(t, addr)
	default:
		t.Fatalf("state %q", says["state"])
	}
	r.send(b)
	switch says["answer"] {
	case "close":
		if got := r.receive(); got != nil {
			t.Errorf("got % x", got)
		}
	case "abort 0/0":
		r.expectAbort(pdu.AbortServiceUser, 0)
	case "abort 2/1":
		r.expectAbort(pdu.AbortServiceProvider, pdu.ReasonUnrecognizedPDU)
	case "abort 2/2":
		r.expectAbort(pdu.AbortServiceProvider, pdu.ReasonUnexpectedPDU)
	case "abort 2/6":
		r.expectAbort(pdu.AbortServiceProvider, pdu.ReasonInvalidParameter)
	default:
		t.Fatalf("answer %q", says["answer"])
	}
	expectService(t, addr)
}

func TestManyPDVsInOnePDU(t *testing.T) {
	m := newMemory()
	addr, _ := serve(t, m, nil)
	r := associate(t, addr)
	b, _ := wireFixture(t, "store-many-pdvs.hex")
	r.send(b)
	if status, id := r.status(); status != 0 || id != 9 {
		t.Errorf("status %04X to message %d", status, id)
	}
	if got, _ := m.instance("1.2.3.4.5"); !bytes.Equal(got, []byte("\x08\x00\x05\x00CS\x00\x00")) {
		t.Errorf("% x arrived", got)
	}
}

func TestSmallFragments(t *testing.T) {
	for _, size := range []int{2, 3, 64} {
		m := newMemory()
		addr, _ := serve(t, m, nil)
		r := associate(t, addr)
		want := pattern(20_000)
		var b []byte
		for rest := storeCommand(ctImageStorage, "1.2.3"); len(rest) > 0; {
			n := min(size, len(rest))
			b = append(b, data(3, true, n == len(rest), rest[:n])...)
			rest = rest[n:]
		}
		for rest := want; len(rest) > 0; {
			n := min(size, len(rest))
			b = append(b, data(3, false, n == len(rest), rest[:n])...)
			rest = rest[n:]
		}
		r.send(b)
		if status, _ := r.status(); status != 0 {
			t.Errorf("fragments of %d: status %04X", size, status)
		}
		if got, _ := m.instance("1.2.3"); !bytes.Equal(got, want) {
			t.Errorf("fragments of %d: %d other bytes arrived", size, len(got))
		}
	}
}

// TestCommandSetThatNeverEnds sends fragments, of 64 bytes or empty, until
// the server has had enough, which must be at its small bound.
func TestCommandSetThatNeverEnds(t *testing.T) {
	for _, size := range []int{0, 64} {
		addr, _ := serve(t, newMemory(), quick)
		r := associate(t, addr)
		fragment := data(1, true, false, make([]byte, size))
		most := (64<<10)/(size+6) + 1
		for range most {
			r.send(fragment)
		}
		r.expectAbort(pdu.AbortServiceUser, 0)
		expectService(t, addr)
	}
}

// TestHeldAssociations holds as many as there may be: the rest is told to try
// again, and another AE title is served all the while.
func TestHeldAssociations(t *testing.T) {
	addr, _ := serve(t, newMemory(), nil)
	accepted, rejected := 0, 0
	for range 150 {
		a, err := tryDial(addr, nil)
		switch {
		case err == nil:
			accepted++
			t.Cleanup(a.Abort)
		case errors.Is(err, dimse.ErrRejected) && strings.Contains(err.Error(), "(2/3/2)"):
			rejected++
		default:
			t.Fatal(err)
		}
	}
	if accepted != 50 || rejected != 100 {
		t.Errorf("%d accepted, %d rejected", accepted, rejected)
	}
	expectService(t, addr)
}

// TestSenderFailsInsideDataSet ends the connection in several ways while the
// Receiver reads: it must see an error, promptly, and never io.EOF.
func TestSenderFailsInsideDataSet(t *testing.T) {
	for name, fail := range map[string]func(*raw){
		"abort": func(r *raw) { r.send(pdu.Abort{}.Append(nil)) },
		"close": func(r *raw) { r.conn.Close() },
		"reset": func(r *raw) { _ = r.conn.SetLinger(0); r.conn.Close() },
		"inside a fragment": func(r *raw) {
			r.send(pdu.AppendPDV(nil, pdu.PDV{ContextID: 3, Length: 1000}))
			r.conn.Close()
		},
		"silence": func(*raw) {},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory()
			reading, result := make(chan struct{}), make(chan error, 1)
			m.receive = func(_ context.Context, in gateway.Incoming) ([]byte, error) {
				close(reading)
				_, err := io.Copy(io.Discard, struct{ io.Reader }{in.Body})
				result <- err
				return nil, err
			}
			addr, _ := serve(t, m, func(c *dimse.Config) { c.Idle = time.Second })
			r := associate(t, addr)
			r.send(data(3, true, true, storeCommand(ctImageStorage, "1.2.3")))
			r.send(data(3, false, false, pattern(100_000)))
			<-reading
			fail(r)
			select {
			case err := <-result:
				if err == nil || errors.Is(err, io.EOF) {
					t.Errorf("the Receiver read: %v", err)
				}
			case <-time.After(time.Minute):
				t.Fatal("the Receiver still reads")
			}
			expectService(t, addr)
		})
	}
}

func TestMaxDataSetLength(t *testing.T) {
	m := newMemory()
	addr, _ := serve(t, m, func(c *dimse.Config) { c.MaxDataSetLength = 100_000; quick(c) })
	a := dial(t, addr, nil)
	for _, c := range []struct {
		length int
		want   dimse.Status
	}{{100_000, 0}, {100_001, dimse.StatusCannotUnderstand}, {199_000, dimse.StatusCannotUnderstand}, {10, 0}} {
		if status, err := a.Store(t.Context(), ct("1.2.3", pattern(c.length))); err != nil || status != c.want {
			t.Errorf("%d bytes: %s, %v; want %s", c.length, status, err, c.want)
		}
	}
	if _, err := a.Store(t.Context(), ct("1.2.3", pattern(1<<20))); err == nil {
		t.Error("a data set far above the limit was read to its end")
	}
	expectService(t, addr)
}

func TestServeDrains(t *testing.T) {
	t.Run("lets an instance finish", func(t *testing.T) {
		m := newMemory()
		waiting, release := make(chan struct{}), make(chan struct{})
		m.wait = func(context.Context, string) (gateway.Standing, error) {
			close(waiting)
			<-release
			return gateway.Stored, nil
		}
		addr, stop := serve(t, m, nil)
		a := dial(t, addr, nil)
		var all sync.WaitGroup
		all.Go(func() {
			if status, err := a.Store(t.Context(), ct("1.2.3", pattern(10))); err != nil || status != 0 {
				t.Errorf("Store: %s, %v", status, err)
			}
			if err := a.Release(t.Context()); err != nil {
				t.Errorf("Release: %v", err)
			}
		})
		<-waiting
		all.Go(stop)
		for { // until the listener is closed
			b, err := tryDial(addr, nil)
			if err != nil {
				break
			}
			b.Abort()
		}
		close(release)
		all.Wait()
	})
	t.Run("aborts who stays", func(t *testing.T) {
		m := newMemory()
		addr, stop := serve(t, m, func(c *dimse.Config) { c.Grace, c.ARTIM = 50*time.Millisecond, time.Second })
		r := associate(t, addr)
		go stop()
		r.expectAbort(pdu.AbortServiceProvider, pdu.ReasonNotSpecified)
		stop()
		if n := m.counted(dimse.OutcomeStopped); n != 1 {
			t.Errorf("%d associations were counted as stopped", n)
		}
	})
}
