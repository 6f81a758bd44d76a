package rpc

import (
	"context"
	"net"
	"net/http"
	"testing"

	"google.golang.org/grpc/codes"
)

// TestRequestsOfACaller: who asks too often, or too much at a time, is told so;
// another caller beside it is served.
func TestRequestsOfACaller(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s := serve(t, &parts{find: func(context.Context) error {
		select {
		case entered <- struct{}{}:
			<-leave
		case <-leave:
		}
		return nil
	}}, Limits{MaxCallerRequests: 1, Rate: 1, Burst: 50})
	neighbour := &http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext}}
	defer neighbour.CloseIdleConnections()
	first := make(chan int, 1)
	go func() {
		got, _ := s.get(t, "/v1/studies")
		first <- got
	}()
	<-entered
	if got, code := s.get(t, "/v1/studies"); got != http.StatusTooManyRequests || code != codes.ResourceExhausted {
		t.Errorf("a second request of the same host: %d, %v", got, code)
	}
	beside := func() (status int) {
		r, err := neighbour.Get("http://" + s.addr + "/v1/studies")
		if err != nil {
			t.Error(err)
			return 0
		}
		r.Body.Close()
		return r.StatusCode
	}
	second := make(chan int, 1)
	go func() { second <- beside() }()
	<-entered
	close(leave)
	if a, b := <-first, <-second; a != http.StatusOK || b != http.StatusOK {
		t.Errorf("the first is answered %d, its neighbour's %d", a, b)
	}
	for _, path := range []string{"/api", "/v1/studies"} { // the page counts, too
		refused := false
		for range 10_000 {
			if got, _ := s.get(t, path); got == http.StatusTooManyRequests {
				refused = true
				break
			}
		}
		if !refused {
			t.Errorf("%s is never refused", path)
		}
	}
	if got := beside(); got != http.StatusOK {
		t.Errorf("the neighbour: %d", got)
	}
}
