package line_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/benchmarks/line"
)

// open opens a line or skips the test.
func open(t *testing.T, o line.Options) *line.Line {
	t.Helper()
	l, err := line.Open(t.Context(), o)
	if errors.Is(err, line.ErrUnavailable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func TestALineIsAsLongAndAsNarrowAsItIsSaidToBe(t *testing.T) {
	const rtt, rate, size = 40 * time.Millisecond, 80_000_000, 4_000_000 // 0.4 s at that rate
	l := open(t, line.Options{RTT: rtt, Rate: rate})
	server, err := net.Listen("tcp", line.Near+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	received := make(chan int64, 1)
	go func() {
		c, err := server.Accept()
		if err != nil {
			received <- -1
			return
		}
		defer c.Close()
		n, _ := io.Copy(io.Discard, c)
		received <- n
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	began := time.Now()
	c, err := l.DialContext(ctx, "tcp", server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if d := time.Since(began); d < rtt {
		t.Errorf("connected after %v, a round trip takes %v", d, rtt)
	}
	began = time.Now()
	if _, err := c.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if n := <-received; n != size {
		t.Fatalf("%d bytes arrived, not %d", n, size)
	}
	if d, least := time.Since(began), size*8*time.Second/rate; d < least {
		t.Errorf("%d bytes took %v, the line needs %v", size, d, least)
	}
}
