package copies_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/journal"
)

type acked struct {
	at   journal.Position
	body []byte
}

// TestAcknowledgedIsHeld: what is acknowledged lies on another node, inline or
// in a large file, and Held is told in order.
func TestAcknowledgedIsHeld(t *testing.T) {
	c := newNodesWith(t, 3, never())
	n := c.all["n1"]
	var mu sync.Mutex
	var all []acked
	var senders sync.WaitGroup
	for i := range 4 {
		senders.Go(func() {
			for k := range 30 {
				body := random(1 + 1700*((i+k)%20))
				at, err := n.put(body)
				if err != nil {
					t.Error(err)
					return
				}
				if h := c.holders(n, at, body); len(h) == 0 {
					t.Errorf("entry %s is acknowledged and lies on %v", at, h)
				}
				mu.Lock()
				all = append(all, acked{at, body})
				mu.Unlock()
			}
		})
	}
	senders.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := 1; i < len(n.held); i++ {
		if n.held[i-1].Position.Compare(n.held[i].Position) >= 0 {
			t.Errorf("Held was told of %s before %s", n.held[i-1].Position, n.held[i].Position)
		}
	}
	if len(n.held) < len(all) {
		t.Errorf("Held was told of %d of %d", len(n.held), len(all))
	}
}

// TestTargetLost: when the node that holds the copies is gone, or merely
// stands still, another takes its place within moments, and gets what was
// there before, too; then it is sent only what is written.
func TestTargetLost(t *testing.T) {
	for name, lose := range map[string]func(*nodes) func(){
		"gone":  func(c *nodes) func() { c.all["n2"].stop(); return func() {} },
		"still": func(c *nodes) func() { return c.freeze("n2", c.frozen) },
		"deaf":  func(c *nodes) func() { return c.freeze("n2", c.deaf) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newNodes(t, 3)
			n := c.all["n1"]
			var before []acked
			for range 40 {
				body := random(12_000)
				at, err := n.put(body)
				if err != nil {
					t.Fatal(err)
				}
				before = append(before, acked{at, body})
			}
			var refused, stored int
			back := lose(c)
			defer back()
			for end := time.Now().Add(time.Minute); stored < 20 && time.Now().Before(end); {
				body := random(3000)
				at, err := n.put(body)
				if errors.Is(err, storage.ErrUnavailable) {
					refused++
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				stored++
				if err := c.all["n3"].has(n.journal.ID(), at, body); err != nil && name == "gone" {
					t.Errorf("acknowledged, and on n3: %v", err)
				}
			}
			if stored < 20 {
				t.Fatalf("%d were stored, %d refused", stored, refused)
			}
			eventually(t, "n1 may be lost", func() bool { return n.keeper.Status().LackingBytes == 0 })
			eventually(t, "what was filled in is over", func() bool { return c.taken("n3", "n1") == 1 })
			for _, a := range before {
				if err := c.all["n3"].has(n.journal.ID(), a.at, a.body); err != nil {
					t.Errorf("n1 says that nothing lacks, and on n3: %v", err)
				}
			}
		})
	}
}

// TestALongWay: what takes long to copy is waited for as long as it comes
// nearer, and so is what stands behind it.
func TestALongWay(t *testing.T) {
	c := newNodes(t, 3)
	n := c.all["n1"]
	c.inLine.Store(true)
	c.rate.Store(1 << 20)
	patience := timing().Stall + timing().Grace
	start := time.Now()
	var senders sync.WaitGroup
	for _, size := range []int{6 << 20, 1000, 1000} {
		senders.Go(func() {
			body := random(size)
			at, err := n.put(body)
			if err != nil {
				t.Errorf("%d bytes: %v", size, err)
			} else if len(c.holders(n, at, body)) == 0 {
				t.Errorf("%d bytes are acknowledged, and on no other node", size)
			}
		})
	}
	senders.Wait()
	if took := time.Since(start); took < patience {
		t.Errorf("it took only %v: the test shows nothing", took)
	}
}

// TestASmallOnePasses: what is small is acknowledged while a large file is on
// its way, which is acknowledged when it lies on another node.
func TestASmallOnePasses(t *testing.T) {
	c := newNodesWith(t, 3, never())
	n := c.all["n1"]
	c.rate.Store(256 << 10)
	large := random(24 << 20) // a minute and a half, if nobody hurries it
	var at journal.Position
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		at, err = n.put(large)
	}()
	eventually(t, "the large file has a connection of its own", func() bool {
		return c.taken("n2", "n1") > 1
	})
	for range 3 {
		body := random(1000)
		at, err := n.put(body)
		if err != nil || len(c.holders(n, at, body)) == 0 {
			t.Fatalf("a small one beside a large one: %v, and lies on %v", err, c.holders(n, at, body))
		}
	}
	select {
	case <-done:
		t.Fatal("the large one was no slower: the test shows nothing")
	default:
	}
	c.rate.Store(0)
	<-done
	if err != nil || len(c.holders(n, at, large)) == 0 {
		t.Errorf("the large one: %v, and lies on %v", err, c.holders(n, at, large))
	}
}

// TestAheadAndLost: a node that is gone while a large file comes to it, and one
// that forgets it, make the file go another way.
func TestAheadAndLost(t *testing.T) {
	c := newNodesWith(t, 3, never())
	n := c.all["n1"]
	c.rate.Store(1 << 20)
	large := random(4 << 20)
	done := make(chan error, 1)
	var at journal.Position
	go func() {
		var err error
		at, err = n.put(large)
		done <- err
	}()
	eventually(t, "the large file has a connection of its own", func() bool {
		return c.taken("n2", "n1") > 1
	})
	c.all["n2"].stop()
	c.rate.Store(0)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if h := c.holders(n, at, large); len(h) != 1 || h[0] != "n3" {
		t.Errorf("it is acknowledged and lies on %v", h)
	}
}

// TestTooFew: without another node nothing is acknowledged; it is said soon,
// and when the node is back what waited is held.
func TestTooFew(t *testing.T) {
	c := newNodes(t, 2)
	n := c.all["n1"]
	if _, err := n.put(random(100)); err != nil {
		t.Fatal(err)
	}
	dir := c.all["n2"].dir
	c.all["n2"].stop()
	at, err := n.put(random(100)) // which is not waited for until put has had enough
	if !errors.Is(err, storage.ErrUnavailable) || at == (journal.Position{}) {
		t.Fatalf("%v: %v", at, err)
	}
	if err := n.keeper.Failing(); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("Failing: %v", err)
	}
	n.mu.Lock()
	held := len(n.held)
	n.mu.Unlock()
	if held != 1 {
		t.Errorf("Held was told of %d entries", held)
	}
	c.start("n2", dir)
	eventually(t, "the entry is held", func() bool { return n.keeper.Await(t.Context(), at) == nil })
	if err := n.keeper.Failing(); err != nil {
		t.Error(err)
	}
}

// TestRestarts lets nodes come and go while others write: what was acknowledged
// at any time lies on another node's disk, and when all are back the holders
// have everything.
func TestRestarts(t *testing.T) {
	c := newNodes(t, 3)
	n := c.all["n1"]
	rnd := rand.New(rand.NewPCG(1, 2))
	var mu sync.Mutex
	var all []acked
	done := make(chan struct{})
	var senders sync.WaitGroup
	for range 3 {
		senders.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				body := random(500 + 997*(i%30))
				at, err := n.put(body)
				if err == nil {
					mu.Lock()
					all = append(all, acked{at, body})
					mu.Unlock()
				} else if !errors.Is(err, storage.ErrUnavailable) {
					t.Error(err)
				}
			}
		})
	}
	for range 8 {
		id := fmt.Sprintf("n%d", 2+rnd.IntN(2))
		mu.Lock()
		count := len(all)
		mu.Unlock()
		if rnd.IntN(2) == 0 {
			c.freeze(id, c.frozen)()
		} else {
			dir := c.all[id].dir
			c.all[id].stop()
			c.start(id, dir)
		}
		eventually(t, "more is acknowledged", func() bool { mu.Lock(); defer mu.Unlock(); return len(all) > count+5 })
	}
	close(done)
	senders.Wait()
	for _, a := range all {
		if len(c.holders(n, a.at, a.body)) == 0 {
			t.Fatalf("entry %s was acknowledged and lies nowhere else", a.at)
		}
	}
	t.Logf("%d acknowledged", len(all))
}

// TestOriginRestarts: an origin that comes back goes on where its copies are,
// and what it did not know to be held is held before Held is told of it.
func TestOriginRestarts(t *testing.T) {
	c := newNodes(t, 3)
	n := c.all["n1"]
	dir := n.dir
	var all []acked
	for range 30 {
		body := random(20_000)
		at, err := n.put(body)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, acked{at, body})
	}
	c.all["n2"].stop()
	c.all["n3"].stop()
	body := random(5000)
	at, err := n.put(body)
	if !errors.Is(err, storage.ErrUnavailable) {
		t.Fatal(err)
	}
	all = append(all, acked{at, body})
	n.stop()
	c.start("n3", t.TempDir())
	n = c.start("n1", dir)
	eventually(t, "all is held by the new n3", func() bool { return n.keeper.Await(t.Context(), at) == nil })
	for _, a := range all {
		eventually(t, "n3 has it", func() bool { return c.all["n3"].has(n.journal.ID(), a.at, a.body) == nil })
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if last := n.held[len(n.held)-1].Position; last != at {
		t.Errorf("Held was told up to %s of %s", last, at)
	}
}
