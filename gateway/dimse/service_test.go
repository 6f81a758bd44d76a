package dimse_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/dimse"
	"github.com/esante-alsace/cigogne/storage"
)

func TestEchoAndStore(t *testing.T) {
	m := newMemory()
	addr, _ := serve(t, m, nil)
	a := dial(t, addr, nil)
	if status, err := a.Echo(t.Context()); err != nil || status != dimse.StatusSuccess {
		t.Fatalf("Echo: %s, %v", status, err)
	}
	// Around the lengths at which a fragment ends.
	for i, n := range []int{0, 1, 2, 131064, 131065, 131066, 131067, 131068, 262132, 1 << 20} {
		uid := fmt.Sprintf("1.2.3.%d", i)
		want := pattern(n)
		status, err := a.Store(t.Context(), ct(uid, want))
		if err != nil || status != dimse.StatusSuccess {
			t.Fatalf("Store of %d bytes: %s, %v", n, status, err)
		}
		if got, ok := m.instance(uid); !ok || !bytes.Equal(got, want) {
			t.Errorf("%d bytes were sent, other %d arrived", n, len(got))
		}
	}
	if err := a.Release(t.Context()); err != nil {
		t.Errorf("Release: %v", err)
	}
	in := m.incoming[0]
	o := in.Origin
	if in.Form != gateway.DataSet || in.TransferSyntaxUID != dimse.ExplicitVRLittleEndian || in.SOPClassUID != ctImageStorage ||
		o.Transport != "dimse" || o.CallingAETitle != "TESTER" || o.CalledAETitle != "CIGOGNE" || o.ID == "" || o.RemoteAddr == "" {
		t.Errorf("the Receiver was told %+v", in)
	}
}

func TestStoreStatus(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("%w: PatientName Müller", err) }
	for _, c := range []struct {
		name     string
		received error
		waited   error
		standing gateway.Standing
		want     dimse.Status
	}{
		{"stored", nil, nil, gateway.Stored, dimse.StatusSuccess},
		{"duplicate", nil, nil, gateway.Duplicate, dimse.StatusSuccess},
		{"conflict", nil, nil, gateway.Conflict, dimse.StatusKeptAside},
		{"full", wrap(storage.ErrFull), nil, 0, dimse.StatusOutOfResources},
		{"full at the fsync", nil, wrap(storage.ErrFull), 0, dimse.StatusOutOfResources},
		{"unavailable", nil, wrap(storage.ErrUnavailable), 0, dimse.StatusOutOfResources},
		{"mismatch", wrap(storage.ErrMismatch), nil, 0, dimse.StatusMismatch},
		{"invalid", wrap(storage.ErrInvalid), nil, 0, dimse.StatusCannotUnderstand},
		{"too large", wrap(storage.ErrTooLarge), nil, 0, dimse.StatusCannotUnderstand},
		{"forbidden", wrap(storage.ErrForbidden), nil, 0, dimse.StatusNotAuthorized},
		{"other", errors.New("PatientName Müller"), nil, 0, dimse.StatusProcessingFailure},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMemory()
			m.receive = func(_ context.Context, in gateway.Incoming) ([]byte, error) {
				if c.received != nil {
					return nil, c.received // without having read anything
				}
				return io.ReadAll(in.Body)
			}
			m.wait = func(context.Context, string) (gateway.Standing, error) { return c.standing, c.waited }
			addr, _ := serve(t, m, nil)
			a := dial(t, addr, nil)
			for range 2 { // the association goes on after a failure
				status, err := a.Store(t.Context(), ct("1.2.3", pattern(300_000)))
				if err != nil || status != c.want {
					t.Fatalf("Store: %s, %v; want %s", status, err, c.want)
				}
			}
			if err := a.Release(t.Context()); err != nil {
				t.Errorf("Release: %v", err)
			}
		})
	}
}

// TestAsyncWindow holds back every answer until the window is full: with one
// operation at a time it would hang.
func TestAsyncWindow(t *testing.T) {
	for _, c := range []struct{ asked, ours, want int }{
		{asked: 4, ours: 16, want: 4},
		{asked: 64, ours: 8, want: 8},
		{asked: 0, ours: 16, want: 1}, // not negotiated
	} {
		t.Run(fmt.Sprintf("%d of %d", c.asked, c.ours), func(t *testing.T) {
			m := newMemory()
			full := make(chan struct{})
			var mu sync.Mutex
			waiting, most := 0, 0
			m.wait = func(ctx context.Context, _ string) (gateway.Standing, error) {
				mu.Lock()
				waiting++
				most = max(most, waiting)
				if waiting == c.want && most == c.want {
					select {
					case <-full:
					default:
						close(full)
					}
				}
				mu.Unlock()
				select {
				case <-full:
				case <-ctx.Done():
					return 0, ctx.Err()
				}
				mu.Lock()
				defer mu.Unlock()
				waiting--
				return gateway.Stored, nil
			}
			addr, _ := serve(t, m, func(cfg *dimse.Config) { cfg.AsyncWindow = c.ours })
			a := dial(t, addr, func(cfg *dimse.SCUConfig) { cfg.AsyncWindow = c.asked })
			if a.Window() != c.want {
				t.Fatalf("the window is %d, want %d", a.Window(), c.want)
			}
			var all sync.WaitGroup
			for i := range 3 * c.want {
				all.Go(func() {
					status, err := a.Store(t.Context(), ct(fmt.Sprintf("1.2.%d", i), pattern(50_000+i)))
					if err != nil || status != dimse.StatusSuccess {
						t.Errorf("Store: %s, %v", status, err)
					}
				})
			}
			all.Wait()
			if err := a.Release(t.Context()); err != nil {
				t.Errorf("Release: %v", err)
			}
			for i := range 3 * c.want {
				if b, ok := m.instance(fmt.Sprintf("1.2.%d", i)); !ok || !bytes.Equal(b, pattern(50_000+i)) {
					t.Errorf("instance %d did not arrive as it was", i)
				}
			}
			if most != c.want {
				t.Errorf("%d were in flight at most, want %d", most, c.want)
			}
		})
	}
}

func TestRejection(t *testing.T) {
	for _, c := range []struct {
		name   string
		server func(*dimse.Config)
		scu    func(*dimse.SCUConfig)
		want   string
	}{
		{"called", nil, func(c *dimse.SCUConfig) { c.CalledAETitle = "ORTHANC" }, "(1/1/7)"},
		{"calling", func(c *dimse.Config) { c.Gatekeeper = nobody{} }, nil, "(1/1/3)"},
		{"limit", func(c *dimse.Config) { c.MaxAssociations = 1 }, nil, "(2/3/2)"},
		{"limit per AE", func(c *dimse.Config) { c.MaxAssociationsPerAE = 1 }, nil, "(2/3/2)"},
		{"connections", func(c *dimse.Config) { c.MaxConnections = 1 }, nil, "(2/3/1)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr, _ := serve(t, newMemory(), c.server)
			if strings.Contains(c.name, "limit") || c.name == "connections" {
				dial(t, addr, nil)
			}
			_, err := tryDial(addr, c.scu)
			if !errors.Is(err, dimse.ErrRejected) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Dial: %v, want %s", err, c.want)
			}
		})
	}
	t.Run("another AE has room", func(t *testing.T) {
		addr, _ := serve(t, newMemory(), func(c *dimse.Config) { c.MaxAssociationsPerAE = 1 })
		first := dial(t, addr, nil)
		dial(t, addr, func(c *dimse.SCUConfig) { c.CallingAETitle = "OTHER" })
		if err := first.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		dial(t, addr, nil) // the place is free again
	})
	t.Run("any called AE title", func(t *testing.T) {
		addr, _ := serve(t, newMemory(), func(c *dimse.Config) { c.CalledAETitles = []string{"*"} })
		dial(t, addr, func(c *dimse.SCUConfig) { c.CalledAETitle = "ORTHANC" })
	})
}
