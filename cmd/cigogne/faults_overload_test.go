package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/gateway/dimse/pdu"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// TestManyConnections: who holds connections and says nothing costs little and
// is let go; others are served.
func TestManyConnections(t *testing.T) {
	if testing.Short() {
		t.Skip("measures memory")
	}
	t.Parallel()
	node := serve(t, t.TempDir(), "--artim", "1s", "--idle", "2s", "--log-level", "error")
	idle, _ := node.rss()
	t.Run("200 silent ones", func(t *testing.T) {
		whileServing(t, node, func() { hold(t, node, nil) })
	})
	t.Run("200 with half an A-ASSOCIATE-RQ", func(t *testing.T) {
		rq := associateRQ(t, "HALF")
		whileServing(t, node, func() { hold(t, node, rq[:len(rq)/2]) })
	})
	t.Run("200 TLS handshakes that nobody wants", func(t *testing.T) {
		whileServing(t, node, func() { hold(t, node, []byte("\x16\x03\x01")) })
	})
	t.Run("150 associations of one AE title", func(t *testing.T) {
		whileServing(t, node, func() { holdAssociations(t, node, 150, 32, func(int) string { return "HOLDER" }) })
	})
	t.Run("150 associations of as many AE titles", func(t *testing.T) {
		// They take all places: the bystander is asked to come again.
		holdAssociations(t, node, 150, 100, func(i int) string { return fmt.Sprintf("HOLDER%d", i) })
		whileServing(t, node, func() {}) // they were let go
	})
	now, most := node.rss()
	t.Logf("memory: %d MiB idle, %d MiB at most, %d MiB afterwards", idle>>20, most>>20, now>>20)
	node.stop()
}

// hold opens 200 connections, sends the same on each, and waits until the node
// has closed all of them.
func hold(t *testing.T, node *process, send []byte) {
	t.Helper()
	var held []*wirePeer
	for range 200 {
		p := connect(t, node.dimse)
		p.t = t
		p.send(send)
		held = append(held, p)
	}
	began := time.Now()
	for _, p := range held {
		p.expectEnd()
	}
	if took := time.Since(began); took > patience {
		t.Errorf("they were held for %v", took)
	}
}

// holdAssociations asks for associations and does nothing with them; so many
// are expected to be accepted, and all others to be rejected as transient.
func holdAssociations(t *testing.T, node *process, n, want int, title func(int) string) {
	t.Helper()
	var held []*wirePeer
	for i := range n {
		p := connect(t, node.dimse)
		p.send(associateRQ(t, title(i)))
		switch got, b := p.receive(); {
		case got == pdu.TypeAssociateAC:
			held = append(held, p)
		case got == pdu.TypeAssociateRJ && b[1] == 2: // rejected-transient
			p.conn.Close()
		default:
			t.Fatalf("the answer to A-ASSOCIATE-RQ is %s % x", got, b)
		}
	}
	if len(held) != want {
		t.Errorf("%d associations were accepted, not %d", len(held), want)
	}
	for _, p := range held {
		p.expectEnd() // they are idle
	}
}

// TestSlowPeers: who sends or reads by drips is cut off in each phase, and
// costs little until then.
func TestSlowPeers(t *testing.T) {
	t.Parallel()
	node := serve(t, t.TempDir(), "--stall", "1s", "--idle", "2s", "--artim", "1s", "--settle", "1h", "--log-level", "error")
	big := dicomtest.NewStudy(dicomtest.Options{Seed: 50, Instances: 1, Frames: 64}).Instances[0]
	a, err := associate(t.Context(), node.dimse, 0, big)
	if err != nil {
		t.Fatal(err)
	}
	if err := cstore(t.Context(), a, big, big.Reader()); err != nil {
		t.Fatal(err)
	}
	a.Abort()
	post := "POST /dicom-web/studies HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/related; type=\"application/dicom\"; boundary=b\r\n"
	part := "--b\r\nContent-Type: application/dicom\r\n\r\n"
	slow := map[string][2]string{ // what is sent at once, and what is repeated
		"headers that never end":      {"GET /healthz HTTP/1.1\r\nHost: x\r\n", "X: y\r\n"},
		"chunks that never end":       {post + "Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"},
		"a body that is longer":       {post + "Content-Length: 4294967296\r\n\r\n" + part, "x"},
		"a part that never ends":      {post + "Content-Length: 1000000\r\n\r\n" + part + string(big.Part10()[:4000]), "x"},
		"part headers that never end": {post + "Content-Length: 1000000\r\n\r\n--b\r\n", "X: y\r\n"},
	}
	if testing.Short() {
		delete(slow, "headers that never end") // takes the 10 s that headers may
	}
	whileServing(t, node, func() {
		var all sync.WaitGroup
		defer all.Wait()
		for name, sent := range slow {
			for range 10 {
				all.Go(func() {
					if err := drip(node, sent[0], sent[1]); err != nil {
						t.Errorf("%s: %v", name, err)
					}
				})
			}
		}
		for range 20 {
			all.Go(func() {
				if err := notReading(node, big); err != nil {
					t.Errorf("a reader that does not read: %v", err)
				}
			})
		}
	})
	_, most := node.rss()
	t.Logf("most memory: %d MiB", most>>20)
	node.stop()
}

var errStillThere = errors.New("the node has not closed the connection")

// drip sends a little ten times a second until the node has had enough.
func drip(node *process, first, again string) error {
	c, err := net.Dial("tcp", strings.TrimPrefix(node.web, "http://"))
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write([]byte(first)); err != nil {
		return err
	}
	return poll(100*time.Millisecond, func() (bool, error) {
		_, err := c.Write([]byte(again))
		return err != nil, nil
	})
}

// notReading asks for 33 MB and reads nothing until the node has had enough.
func notReading(node *process, in dicomtest.Instance) error {
	addr, err := net.ResolveTCPAddr("tcp", strings.TrimPrefix(node.web, "http://"))
	if err != nil {
		return err
	}
	c, err := net.DialTCP("tcp", nil, addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetReadBuffer(4 << 10); err != nil {
		return err
	}
	// The node may have had enough before this test has a processor again.
	if open, err := holds(node, c.LocalAddr().String()); err != nil || !open {
		return fmt.Errorf("the connection is not there: %w", err)
	}
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nAccept: application/dicom\r\n\r\n", instanceURL("", keyOf(in)))
	return poll(200*time.Millisecond, func() (bool, error) {
		open, err := holds(node, c.LocalAddr().String())
		return !open, err
	})
}

// poll asks until the answer is yes or an error.
func poll(pause time.Duration, ask func() (bool, error)) error {
	deadline := time.After(hangs)
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		if done, err := ask(); done || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-deadline:
			return errStillThere
		}
	}
}

// TestUploadsAreBounded: beyond --max-uploads the answer is 503, and reading
// goes on.
func TestUploadsAreBounded(t *testing.T) {
	t.Parallel()
	node := serve(t, t.TempDir(), "--max-uploads", "2", "--log-level", "error")
	var open []net.Conn
	whileServing(t, node, func() {
		for range 2 {
			c, err := net.Dial("tcp", strings.TrimPrefix(node.web, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			fmt.Fprint(c, "POST /dicom-web/studies HTTP/1.1\r\nHost: x\r\nContent-Type: application/dicom\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n")
			b := make([]byte, 25)
			if _, err := c.Read(b); err != nil || !strings.Contains(string(b), "100 Continue") {
				t.Fatalf("%q, %v", b, err)
			}
			open = append(open, c)
		}
		in := dicomtest.NewStudy(dicomtest.Options{Seed: 51, Modality: "CR", Instances: 1}).Instances[0]
		rq, err := http.NewRequestWithContext(t.Context(), http.MethodPost, node.web+"/dicom-web/studies", strings.NewReader(string(in.Part10())))
		if err != nil {
			t.Fatal(err)
		}
		rq.Header.Set("Content-Type", "application/dicom")
		answer, err := http.DefaultClient.Do(rq)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") == "" {
			t.Errorf("%s, Retry-After %q", answer.Status, answer.Header.Get("Retry-After"))
		}
		for _, c := range open {
			c.Close()
		}
		node.eventually("free for uploads", func() bool {
			status, _, err := stow(t.Context(), node.web, in.Part10())
			return err == nil && status == http.StatusOK
		})
	})
	node.stop()
}
