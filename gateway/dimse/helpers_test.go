package dimse_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/dimse"
	"github.com/esante-alsace/cigogne/storage"
)

// memory is a Receiver that keeps what it gets, and a Metrics that counts.
type memory struct {
	mu        sync.Mutex
	instances map[string][]byte // data sets by SOPInstanceUID
	incoming  []gateway.Incoming
	counts    map[string]int
	news      chan struct{} // closed when something is counted

	// What a test may change before the first association.
	receive func(ctx context.Context, in gateway.Incoming) ([]byte, error)
	wait    func(ctx context.Context, sopInstanceUID string) (gateway.Standing, error)
}

func newMemory() *memory {
	return &memory{
		instances: map[string][]byte{},
		counts:    map[string]int{},
		receive:   func(_ context.Context, in gateway.Incoming) ([]byte, error) { return io.ReadAll(in.Body) },
		wait:      func(context.Context, string) (gateway.Standing, error) { return gateway.Stored, nil },
	}
}

func (m *memory) Receive(ctx context.Context, in gateway.Incoming) (gateway.Pending, error) {
	b, err := m.receive(ctx, in)
	if err != nil {
		m.count("receive failed")
		return nil, err
	}
	in.Body = nil
	m.mu.Lock()
	defer m.mu.Unlock()
	m.incoming = append(m.incoming, in)
	return &pending{m, in, b}, nil
}

type pending struct {
	m  *memory
	in gateway.Incoming
	b  []byte
}

func (p *pending) Received() gateway.Receipt {
	return gateway.Receipt{
		Key:         storage.InstanceKey{SOPInstanceUID: p.in.SOPInstanceUID},
		SOPClassUID: p.in.SOPClassUID, Digest: storage.DigestOf(p.b),
	}
}

func (p *pending) Wait(ctx context.Context) (gateway.Receipt, error) {
	standing, err := p.m.wait(ctx, p.in.SOPInstanceUID)
	if err != nil {
		return gateway.Receipt{}, err
	}
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	p.m.instances[p.in.SOPInstanceUID] = p.b
	r := p.Received()
	r.Standing = standing
	return r, nil
}

func (m *memory) count(what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts[what]++
	if m.news != nil {
		close(m.news)
		m.news = nil
	}
}

// await waits until something was counted.
func (m *memory) await(t *testing.T, what string) {
	t.Helper()
	most := time.NewTimer(time.Minute)
	defer most.Stop()
	for {
		m.mu.Lock()
		if m.counts[what] > 0 {
			m.mu.Unlock()
			return
		}
		if m.news == nil {
			m.news = make(chan struct{})
		}
		news := m.news
		m.mu.Unlock()
		select {
		case <-news:
		case <-most.C:
			t.Fatalf("nothing was counted as %q", what)
		}
	}
}

func (m *memory) counted(what string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.counts[what]
}

func (m *memory) Association(outcome string) { m.count(outcome) }

func (m *memory) Refused(transport string, why gateway.Refusal) {
	m.count("refused " + transport + " " + string(why))
}

func (m *memory) Suboperation(command string, failed bool, _ int64) {
	m.count(fmt.Sprintf("%s suboperation failed=%v", command, failed))
}

func (m *memory) Operation(command string, status dimse.Status, _ int64, _ time.Duration) {
	m.count(command + " " + status.String())
}

func (m *memory) instance(uid string) ([]byte, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.instances[uid]
	return b, ok
}

// serve runs a Server with m behind it until the test ends, and returns its
// address and a function that stops it and waits.
func serve(t testing.TB, m *memory, change func(*dimse.Config)) (addr string, stop func()) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln.Addr().String(), serveOn(t, ln, m, change)
}

func serveOn(t testing.TB, ln net.Listener, m *memory, change func(*dimse.Config)) (stop func()) {
	t.Helper()
	cfg := dimse.Config{AETitle: "CIGOGNE", Receiver: m, Metrics: m, Grace: 5 * time.Second}
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- dimse.NewServer(cfg).Serve(ctx, ln) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(30 * time.Second):
			t.Error("Serve did not end")
		}
	})
	t.Cleanup(stop)
	return stop
}

const ctImageStorage = "1.2.840.10008.5.1.4.1.1.2"

// dial opens an association for Verification and CT Image Storage.
func dial(t testing.TB, addr string, change func(*dimse.SCUConfig)) *dimse.Association {
	t.Helper()
	a, err := tryDial(addr, change)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Abort)
	return a
}

func tryDial(addr string, change func(*dimse.SCUConfig)) (*dimse.Association, error) {
	cfg := dimse.SCUConfig{CallingAETitle: "TESTER", CalledAETitle: "CIGOGNE", Contexts: []dimse.ProposedContext{
		{AbstractSyntax: dimse.Verification, TransferSyntaxes: []string{dimse.ImplicitVRLittleEndian}},
		{AbstractSyntax: ctImageStorage, TransferSyntaxes: []string{dimse.ExplicitVRLittleEndian}},
	}}
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return dimse.Dial(ctx, addr, cfg)
}

func ct(uid string, dataSet []byte) dimse.StoreRequest {
	return dimse.StoreRequest{
		SOPClassUID: ctImageStorage, SOPInstanceUID: uid,
		TransferSyntaxUID: dimse.ExplicitVRLittleEndian, DataSet: bytes.NewReader(dataSet),
	}
}

// pattern is n bytes that differ from place to place.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>16 ^ i>>8 ^ i*7)
	}
	return b
}
