package rpc

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
	"github.com/esante-alsace/cigogne/storage/index"
)

// endless makes events as fast as they are asked for.
func endless(after int64) []index.Event {
	list := make([]index.Event, watchEvents)
	for i := range list {
		list[i] = index.Event{Sequence: after + 1 + int64(i), StudyInstanceUID: strings.Repeat("1", 64)}
	}
	return list
}

// TestSlowReader: a reader of a stream that does not keep up loses its stream,
// and keeps nothing from others, on the same connection or another.
func TestSlowReader(t *testing.T) {
	ended := make(chan error, 1)
	p := &parts{events: endless}
	s := serve(t, p, Limits{Stall: time.Second, MaxStreams: 1})
	conn := s.dial(t)
	slow, err := pb.NewEventsClient(conn).Watch(t.Context(), &pb.EventsWatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := slow.Recv(); err != nil { // and then no more: the window fills
		t.Fatal(err)
	}
	if _, err := pb.NewStudiesClient(conn).Search(t.Context(), &pb.StudiesSearchRequest{}); err != nil {
		t.Errorf("beside it: %v", err)
	}
	go func() { // the one stream there may be is free when the slow one has ended
		for {
			other, err := pb.NewEventsClient(conn).Watch(t.Context(), &pb.EventsWatchRequest{})
			if err == nil {
				_, err = other.Recv()
			}
			if status.Code(err) != codes.ResourceExhausted {
				ended <- err
				return
			}
		}
	}()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("the slow reader has its stream for ever")
	}
}

// TestIdleStream: a stream that has nothing to say stays, however short a time
// its reader has to take what is written.
func TestIdleStream(t *testing.T) {
	happened := make(chan struct{})
	var ready atomic.Bool
	s := serve(t, &parts{happened: happened, events: func(after int64) []index.Event {
		if !ready.Load() || after > 0 {
			return nil
		}
		return endless(after)[:1]
	}}, Limits{Stall: 500 * time.Millisecond})
	watch, err := pb.NewEventsClient(s.dial(t)).Watch(t.Context(), &pb.EventsWatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	idle := time.NewTimer(time.Second)
	<-idle.C
	ready.Store(true)
	close(happened)
	if m, err := watch.Recv(); err != nil || len(m.Events) != 1 {
		t.Errorf("after a while without events: %v, %v", m, err)
	}
}

// TestStreamsOfACaller: one caller has some streams of a kind, not all.
func TestStreamsOfACaller(t *testing.T) {
	s := serve(t, &parts{events: func(after int64) []index.Event {
		if after > 0 {
			return nil
		}
		return endless(after)[:1]
	}}, Limits{MaxCallerStreams: 2})
	c := pb.NewEventsClient(s.dial(t))
	open := func() error {
		w, err := c.Watch(t.Context(), &pb.EventsWatchRequest{})
		if err == nil {
			_, err = w.Recv()
		}
		return err
	}
	for range 2 {
		if err := open(); err != nil {
			t.Fatal(err)
		}
	}
	if err := open(); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a third stream: %v", err)
	}
}

// TestDrain: streams end with UNAVAILABLE, over gRPC and REST, health says so,
// and a request that is under way is answered.
func TestDrain(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s := serve(t, &parts{find: func(context.Context) error {
		close(entered)
		<-leave
		return nil
	}}, Limits{Beat: time.Millisecond})
	conn := s.dial(t)
	watch, err := pb.NewEventsClient(conn).Watch(t.Context(), &pb.EventsWatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.Get("http://" + s.addr + "/v1/events:watch")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	answered := make(chan error, 1)
	go func() {
		_, err := pb.NewStudiesClient(conn).Search(t.Context(), &pb.StudiesSearchRequest{})
		answered <- err
	}()
	<-entered
	for range 3 { // nothing happens, and it says so
		if m, err := watch.Recv(); err != nil || len(m.Events) > 0 {
			t.Fatalf("%v, %v", m, err)
		}
	}
	s.Drain()
	for err == nil {
		_, err = watch.Recv()
	}
	if status.Code(err) != codes.Unavailable {
		t.Errorf("the stream ends with %v", err)
	}
	if b, err := io.ReadAll(r.Body); err != nil || !bytes.Contains(b, []byte(`"code":14`)) {
		t.Errorf("the stream of REST ends with %q, %v", b, err)
	}
	if _, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("a new call: %v", err)
	}
	close(leave)
	if err := <-answered; err != nil {
		t.Errorf("the request under way: %v", err)
	}
}
