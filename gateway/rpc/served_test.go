package rpc

import (
	"context"
	"encoding/json"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/access"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
)

// parts stand in for the use cases, where a test must decide how long they
// take; cmd/cigogne tests the API over the real ones.
type parts struct {
	find     func(ctx context.Context) error
	events   func(after int64) []index.Event
	happened chan struct{}
	refuse   func(who access.Caller, op access.Operation, resource string) error
}

func (p *parts) Find(ctx context.Context, _ index.Query) iter.Seq2[dicom.DataSet, error] {
	return func(yield func(dicom.DataSet, error) bool) {
		if p.find != nil {
			if err := p.find(ctx); err != nil {
				yield(nil, err)
			}
		}
	}
}

func (p *parts) Held(_ context.Context, asked []index.Named) ([]index.Standing, error) {
	return make([]index.Standing, len(asked)), nil
}

func (p *parts) Instances(context.Context, gateway.Selector) ([]gateway.Instance, error) {
	return nil, storage.ErrNotFound
}

func (p *parts) Study(context.Context, string) ([]index.SeriesHistory, error) {
	return nil, storage.ErrNotFound
}

func (p *parts) Instance(context.Context, gateway.Selector) (gateway.InstanceHistory, error) {
	return gateway.InstanceHistory{}, storage.ErrNotFound
}

func (p *parts) Events(_ context.Context, after int64, _ int) ([]index.Event, error) {
	if p.events == nil {
		return nil, nil
	}
	return p.events(after), nil
}

func (p *parts) Feed(context.Context) (first, last int64, err error) { return 0, 0, nil }

func (p *parts) Happened() <-chan struct{} { return p.happened }

func (p *parts) Permit(_ context.Context, who access.Caller, op access.Operation, resource string) error {
	if p.refuse == nil {
		return nil
	}
	return p.refuse(who, op, resource)
}

// backing is all that a Server asks.
type backing interface {
	Searcher
	Retriever
	Historian
	access.Gatekeeper
}

// served is a Server over HTTP, as a node serves it.
type served struct {
	*Server
	addr string
}

func serve(t testing.TB, p backing, l Limits) *served {
	t.Helper()
	s, err := New(Options{Search: p, Retrieve: p, History: p, Gatekeeper: p, Limits: l, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: s, Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(listener)
	}()
	t.Cleanup(func() {
		s.Drain()
		server.Close()
		<-done
		s.Close()
	})
	return &served{s, listener.Addr().String()}
}

func (s *served) dial(t testing.TB) *grpc.ClientConn {
	t.Helper()
	c, err := grpc.NewClient(s.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// get asks REST, and returns the code of google.rpc as well.
func (s *served) get(t *testing.T, path string) (httpStatus int, code codes.Code) {
	t.Helper()
	r, err := http.Get("http://" + s.addr + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	var st struct{ Code codes.Code }
	json.NewDecoder(r.Body).Decode(&st)
	return r.StatusCode, st.Code
}
