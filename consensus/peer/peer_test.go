package peer_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/consensus/peer"
	"github.com/esante-alsace/cigogne/storage"
)

// credentials of a node, or of an operator, made by the CA in dir.
func credentials(t *testing.T, dir string, id peer.Identity) *peer.Credentials {
	t.Helper()
	a, err := peer.OpenAuthority(dir)
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(dir, string(id.Role)+"-"+id.Name)
	if err := a.Issue(own, id, time.Hour); err != nil {
		t.Fatal(err)
	}
	c, err := peer.Load(own)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func node(name string) peer.Identity { return peer.Identity{Role: peer.RoleNode, Name: name} }

// listen serves a port that echoes on ProtoRaft and says by HTTP who calls.
func listen(t *testing.T, o peer.PortOptions) peer.Node {
	t.Helper()
	o.Addr = "127.0.0.1:0"
	p, err := peer.Listen(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	p.Handle(peer.ProtoRaft, func(_ context.Context, c *peer.Conn) { io.Copy(c, c) })
	p.HandleHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := peer.From(r.Context())
		io.WriteString(w, id.String())
	}))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("serve: %v", err)
		}
	})
	return peer.Node{ID: o.Credentials.Identity.Name, Addr: p.Addr().String()}
}

// spoken says a word on the connection and returns what comes back.
func spoken(c net.Conn) (string, error) {
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, "stork"); err != nil {
		return "", err
	}
	b := make([]byte, 5)
	_, err := io.ReadFull(c, b)
	return string(b), err
}

func TestTheOtherEndIsKnown(t *testing.T) {
	dir := t.TempDir()
	n1 := listen(t, peer.PortOptions{Credentials: credentials(t, dir, node("n1"))})
	d := peer.NewDialer(credentials(t, dir, node("n2")), nil)
	t.Cleanup(d.Close)

	for _, n := range []peer.Node{n1, {Addr: n1.Addr}} {
		c, err := d.Dial(t.Context(), n, peer.ProtoRaft)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := spoken(c); err != nil || s != "stork" || c.Peer != node("n1") {
			t.Errorf("%q, %v from %v", s, err, c.Peer)
		}
		c.Close()
	}
	for range 2 { // the second time over the connection of the first
		r, err := d.Client(n1).Get("http://n1/")
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r.Body)
		if r.Body.Close(); err != nil || string(b) != "cigogne://node/n2" {
			t.Errorf("%q, %v", b, err)
		}
	}
}

func TestWhoIsRefused(t *testing.T) {
	dir := t.TempDir()
	n1 := listen(t, peer.PortOptions{Credentials: credentials(t, dir, node("n1"))})
	operator := peer.Identity{Role: peer.RoleOperator, Name: "odile"}
	for _, c := range []struct {
		name  string
		as    *peer.Credentials
		to    peer.Node
		proto string
		want  error
	}{
		{"another node answers", credentials(t, dir, node("n2")), peer.Node{ID: "n3", Addr: n1.Addr}, peer.ProtoRaft, storage.ErrForbidden},
		{"another CA", credentials(t, t.TempDir(), node("n2")), n1, peer.ProtoRaft, storage.ErrForbidden},
		{"an operator speaks raft", credentials(t, dir, operator), n1, peer.ProtoRaft, nil},
		{"a protocol that nobody speaks", credentials(t, dir, node("n2")), n1, "cigogne-raft/99", storage.ErrForbidden},
		{"nobody listens", credentials(t, dir, node("n2")), peer.Node{ID: "n1", Addr: "127.0.0.1:1"}, peer.ProtoRaft, storage.ErrUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := peer.NewDialer(c.as, nil).Dial(t.Context(), c.to, c.proto)
			if err == nil { // refused after the client's end of the handshake
				defer conn.Close()
				if s, err := spoken(conn); err == nil {
					t.Fatalf("it was let in: %q", s)
				}
			}
			if c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

// The port itself refuses a stranger: one whose end trusts whoever answers.
func TestAStrangerIsRefusedByThePort(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	n1 := listen(t, peer.PortOptions{Credentials: credentials(t, dir, node("n1"))})
	credentials(t, other, node("n1"))
	// Its own certificate is the stranger's, its CA is ours.
	own := filepath.Join(other, "node-n1")
	mixed, err := peer.LoadUnverified(own, filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if c, err := peer.NewDialer(mixed, nil).Dial(t.Context(), n1, peer.ProtoRaft); err == nil {
		defer c.Close()
		if s, err := spoken(c); err == nil {
			t.Fatalf("it was let in: %q", s)
		}
	}
	r, err := peer.NewDialer(mixed, nil).Client(n1).Get("http://n1/")
	if err == nil {
		r.Body.Close()
		t.Fatal("its call was answered")
	}
}

// TestARevokedCertificate: it may speak nothing, and calls are told why; one
// that is newer may, and an operator.
func TestARevokedCertificate(t *testing.T) {
	dir := t.TempDir()
	moment := time.Now()
	n1 := listen(t, peer.PortOptions{
		Credentials: credentials(t, dir, node("n1")),
		Refuses: func(id peer.Identity, made time.Time) error {
			if d := made.Sub(moment).Abs(); d > time.Minute {
				t.Errorf("a new certificate seems to be made %v from now", d)
			}
			if id == node("n3") {
				return nil
			}
			return fmt.Errorf("%w: revoked", storage.ErrForbidden)
		},
	})
	for id, let := range map[peer.Identity]bool{node("n2"): false, node("n3"): true, {Role: peer.RoleOperator, Name: "odile"}: true} {
		d := peer.NewDialer(credentials(t, dir, id), nil)
		t.Cleanup(d.Close)
		resp, err := d.Client(n1).Get("http://n1/")
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if want := map[bool]int{true: http.StatusOK, false: http.StatusForbidden}[let]; err != nil || resp.StatusCode != want {
			t.Errorf("%s calls: %s %s, %v", id, resp.Status, b, err)
		}
		if id.Role != peer.RoleNode {
			continue
		}
		c, err := d.Dial(t.Context(), n1, peer.ProtoRaft)
		if err == nil {
			_, err = spoken(c) // with TLS 1.3 a refusal may come after the handshake
			c.Close()
		}
		if (err == nil) != let {
			t.Errorf("%s speaks: %v", id, err)
		}
	}
}

func TestCredentials(t *testing.T) {
	dir := t.TempDir()
	a, err := peer.OpenAuthority(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Issue(filepath.Join(dir, "x"), node("../x"), time.Hour); !errors.Is(err, storage.ErrInvalid) {
		t.Errorf("a name that is a path: %v", err)
	}
	if err := a.Issue(filepath.Join(dir, "old"), node("old"), -time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, err := peer.Load(filepath.Join(dir, "old")); !errors.Is(err, storage.ErrForbidden) {
		t.Errorf("an expired certificate: %v", err)
	}
	if _, err := peer.Load(t.TempDir()); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("no certificate: %v", err)
	}
	half := t.TempDir()
	if err := a.Issue(half, node("half"), time.Hour); err != nil { // a ca.pem without its key
		t.Fatal(err)
	}
	if _, err := peer.OpenAuthority(half); !errors.Is(err, storage.ErrInvalid) {
		t.Errorf("half of a CA: %v", err)
	}
	op := credentials(t, dir, peer.Identity{Role: peer.RoleOperator, Name: "odile"})
	if _, err := peer.Listen(t.Context(), peer.PortOptions{Addr: "127.0.0.1:0", Credentials: op}); !errors.Is(err, storage.ErrForbidden) {
		t.Errorf("an operator listens: %v", err)
	}
}

// Connections beyond the bound are closed, those below go on, and one that
// never says a word keeps nobody back.
func TestConnectionsAreBounded(t *testing.T) {
	dir := t.TempDir()
	n1 := listen(t, peer.PortOptions{Credentials: credentials(t, dir, node("n1")), MaxConns: 2})
	silent, err := net.Dial("tcp", n1.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	d := peer.NewDialer(credentials(t, dir, node("n2")), nil)
	var in []*peer.Conn
	for range 3 {
		c, err := d.Dial(t.Context(), n1, peer.ProtoRaft)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := spoken(c); err == nil {
			in = append(in, c)
		}
	}
	if len(in) != 2 {
		t.Fatalf("%d connections were let in", len(in))
	}
	for _, c := range in {
		if _, err := spoken(c); err != nil {
			t.Error(err)
		}
	}
}

// Calls leave a quarter of the connections to raft and to copies.
func TestCallsLeaveRoom(t *testing.T) {
	dir := t.TempDir()
	n1 := listen(t, peer.PortOptions{Credentials: credentials(t, dir, node("n1")), MaxConns: 4})
	d := peer.NewDialer(credentials(t, dir, node("n2")), nil)
	answered := 0
	for range 4 {
		c, err := d.Dial(t.Context(), n1, peer.ProtoHTTP)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: n1\r\n\r\n"); err != nil {
			continue
		}
		if _, err := c.Read(make([]byte, 1)); err == nil {
			answered++
		}
	}
	if answered != 3 {
		t.Errorf("%d connections of calls were let in", answered)
	}
	c, err := d.Dial(t.Context(), n1, peer.ProtoRaft)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := spoken(c); err != nil {
		t.Errorf("raft is not let in beside calls: %v", err)
	}
}

// Calls that come all at once are all answered, though a port has room for few
// who are not known yet.
func TestCallsAtOnce(t *testing.T) {
	dir := t.TempDir()
	n1 := listen(t, peer.PortOptions{Credentials: credentials(t, dir, node("n1"))})
	d := peer.NewDialer(credentials(t, dir, node("n2")), nil)
	t.Cleanup(d.Close)
	client := d.Client(n1)
	var all sync.WaitGroup
	for range 256 {
		all.Go(func() {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://n1/", nil)
			if err != nil {
				t.Error(err)
				return
			}
			resp, err := client.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
		})
	}
	all.Wait()
}

func FuzzValidName(f *testing.F) {
	for _, s := range []string{"n1", "", ".", "a/b", "N1", "n1.example", "-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if peer.ValidName(s) && (filepath.Base(s) != s || s == "." || s == "..") {
			t.Errorf("%q is a path", s)
		}
	})
}
