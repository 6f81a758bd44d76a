package clustertest_test

import (
	"os"
	"sync"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/consensus/clustertest"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
)

// small lets the log be short, so that what lags needs a snapshot.
func small(c *clustertest.Cluster) {
	c.Timing.Entries, c.Timing.Trailing, c.Timing.SnapshotEvery = 8, 8, 50*time.Millisecond
}

// three are three nodes with short logs.
func three(t *testing.T) *clustertest.Cluster {
	t.Helper()
	c := clustertest.New(t)
	small(c)
	for _, id := range []string{"n1", "n2", "n3"} {
		c.Start(id)
	}
	c.Settled(3)
	return c
}

func TestTheLogIsBounded(t *testing.T) {
	c := three(t)
	w := &writer{t: t}
	w.write(c.Node("n2"), 100)
	c.Eventually("the log is cut", func() bool {
		for _, id := range c.Running() {
			if s := c.Node(id).Status(); s.LastLog-s.FirstLog > 40 || s.Snapshot+40 < s.LastLog {
				return false
			}
		}
		return true
	})
	// Nobody begins at zero.
	for _, id := range c.Running() {
		c.Kill(id)
	}
	for _, id := range []string{"n1", "n2", "n3"} {
		if s := c.Start(id).Status(); s.Applied < 100 || s.FirstLog < 50 {
			t.Errorf("%+v", s)
		}
	}
	w.whole(c)
}

// A node that lags, and one that is new, get a copy of the index while others
// write.
func TestASnapshotWhileOthersWrite(t *testing.T) {
	c := three(t)
	w := &writer{t: t}
	w.write(c.Node("n1"), 5)
	lags := c.Others(c.Leader().ID)[0].ID
	has := c.Node(lags).Status().LastLog
	c.Kill(lags)
	w.write(c.Leader(), 60)
	c.Eventually("the log no longer has what it lacks", func() bool {
		w.write(c.Leader(), 1)
		return c.Leader().Status().FirstLog > has+1
	})

	var work sync.WaitGroup
	stop := make(chan struct{})
	work.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				w.write(c.Leader(), 1)
			}
		}
	})
	n := c.Start(lags)
	c.Eventually("the one that lagged has caught up", func() bool {
		return n.Status().Applied+20 > c.Leader().Status().Applied
	})
	c.Start("n4")
	c.Settled(4)
	close(stop)
	work.Wait()
	w.whole(c)
}

// What a node held before there was a cluster comes to the others.
func TestWhatWasBeforeTheCluster(t *testing.T) {
	c := clustertest.New(t)
	w := &writer{t: t}
	if err := os.MkdirAll(c.Dir("n1"), 0o700); err != nil {
		t.Fatal(err)
	}
	x, err := index.Open(t.Context(), index.Options{Path: c.IndexPath("n1")})
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if _, err := x.Apply(t.Context(), w.batch(int(w.next.Add(1)-1))); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	c.Start("n1")
	c.Start("n2")
	c.Settled(2)
	w.write(c.Node("n2"), 3)
	w.whole(c)
}

func damage(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, 3000), 100); err != nil {
		t.Fatal(err)
	}
}

// A damaged or missing index is fetched, by one node with the others' help,
// and even by the one without which there is no majority.
func TestTheIndexHeals(t *testing.T) {
	for name, spoil := range map[string]func(*testing.T, *clustertest.Cluster, string){
		"damaged": func(t *testing.T, c *clustertest.Cluster, id string) { damage(t, c.IndexPath(id)) },
		"missing": func(t *testing.T, c *clustertest.Cluster, id string) {
			if err := index.Discard(c.IndexPath(id)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := three(t)
			w := &writer{t: t}
			w.write(c.Node("n1"), 30)
			w.whole(c)
			for _, id := range c.Running() {
				c.Kill(id)
			}
			spoil(t, c, "n2")
			c.Start("n1")
			c.Start("n2") // and no third: its vote is needed
			w.write(c.Node("n2"), 3)
			w.whole(c)
			c.Start("n3")
			w.whole(c)
		})
	}
}

// TestDeepAttributes: an instance whose sequences lie deep in each other is
// taken by a cluster, whoever proposes it, and so is what comes after it.
func TestDeepAttributes(t *testing.T) {
	c := clustertest.Of(t, 3)
	w := &writer{t: t}
	for i, n := range append(c.Others(c.Leader().ID), c.Leader()) {
		b := w.batch(1000 + i)
		ds := dicom.DataSet{{Tag: 0x00080100, VR: "SH", Values: []string{"113850"}}}
		for range 32 {
			ds = dicom.DataSet{{Tag: 0x00400275, VR: "SQ", Items: []dicom.DataSet{ds}}}
		}
		b.Received[0].Attributes = b.Received[0].Attributes.With(ds...)
		propose(t, n, b)
		w.write(n, 1)
	}
}
