package main

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// TestBoundedListener: the connection over the bound waits until one ends, and
// keeps the way on which the kernel sends files.
func TestBoundedListener(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := bound(inner, 1, 1, newLull(func() int { return 0 }), func(error) {})
	accepted := make(chan net.Conn)
	ended := make(chan error, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- c
		}
	}()
	for range 2 {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	first := <-accepted
	if _, ok := first.(io.ReaderFrom); !ok {
		t.Errorf("%T has no ReadFrom", first)
	}
	select {
	case <-accepted:
		t.Fatal("a second connection was accepted beside the first")
	case <-time.After(50 * time.Millisecond):
	}
	first.Close()
	(<-accepted).Close()
	l.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept ended with %v", err)
	}
}
