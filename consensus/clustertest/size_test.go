package clustertest_test

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/consensus"
	"github.com/esante-alsace/cigogne/consensus/clustertest"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
)

var (
	size   = flag.Int("studies", 3000, "how many studies the index of TestAtSize holds")
	update = flag.Bool("update", false, "write the fixtures anew")
)

// TestAtSize: a node with a large index starts again without beginning at
// zero, and one that is new is brought up while others write.
func TestAtSize(t *testing.T) {
	c := clustertest.New(t)
	w := &writer{t: t}
	load(t, c.IndexPath("n1"), *size, w)
	at := time.Now()
	c.Start("n1")
	c.Leader()
	t.Logf("%d studies: the cluster begins after %v", *size, time.Since(at))

	n := c.Node("n1")
	at = time.Now()
	fresh := c.Start("n2")
	for fresh.Status().Applied == 0 || fresh.Status().Applied+20 < n.Status().Applied {
		w.write(n, 1)
		if time.Since(at) > 10*time.Minute {
			t.Fatal("the new node does not catch up")
		}
	}
	t.Logf("an empty node has caught up after %v", time.Since(at))
	c.Settled(2)
	w.write(fresh, 20)

	for _, id := range c.Running() {
		c.Kill(id)
	}
	at = time.Now()
	for _, id := range []string{"n1", "n2"} {
		if s := c.Start(id).Status(); s.Applied < 4 || s.FirstLog < 2 {
			t.Errorf("%s begins at zero: %+v", id, s)
		}
	}
	b := w.batch(int(w.next.Add(1) - 1))
	if err := c.Node("n2").Propose(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	t.Logf("both started again and committed after %v", time.Since(at))
	for _, id := range c.Running() {
		if _, err := c.Node(id).Read(t.Context(), consensus.Strong, 0); err != nil {
			t.Fatal(err)
		}
		counts, err := c.Node(id).Index.Counts(t.Context())
		if err != nil || counts.Studies != w.next.Load() {
			t.Errorf("%s has %d studies of %d, %v", id, counts.Studies, w.next.Load(), err)
		}
	}
}

// load makes the index of a node that stood alone.
func load(t *testing.T, path string, n int, w *writer) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	x, err := index.Open(t.Context(), index.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	p := indextest.Population{Seed: 5, MaxSeries: 1, MaxInstances: 2}
	var b index.Batch
	for i := range n {
		b.Received = append(b.Received, p.Study(i)...)
		if len(b.Received) < 500 && i < n-1 {
			continue
		}
		if _, err := x.Apply(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		b.Received = nil
	}
	w.next.Store(int64(n))
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestAnEarlierVersionsNode starts a node with what the first build with these
// versions of the formats left: log, snapshot and identity. The index has fixtures of its own:
// here it is as it was at the snapshot, with one study, and the log brings the
// rest.
func TestAnEarlierVersionsNode(t *testing.T) {
	const name, studies = "testdata/node-v2.tar.gz", 12
	w := &writer{t: t}
	if *update {
		c := clustertest.Of(t, 1)
		w.write(c.Node("n1"), 1)
		c.Eventually("there is a snapshot", func() bool { return c.Node("n1").Status().Snapshot > 0 })
		w.write(c.Node("n1"), studies-1)
		c.Kill("n1")
		pack(t, filepath.Join(c.Dir("n1"), "raft"), name)
	}
	c := clustertest.New(t)
	unpack(t, name, filepath.Join(c.Dir("n1"), "raft"))
	atSnapshot(t, c, w.batch(0))
	n := c.Start("n1")
	c.Leader()
	w.next.Store(studies)
	w.whole(c)
	c.Eventually("the address is the new one", func() bool { return n.Members()[0].Addr == c.Addr("n1") })
	c.Start("n2")
	c.Settled(2)
	w.write(c.Node("n2"), 2)
	w.whole(c)
}

// atSnapshot makes the index of n1 the one that its snapshot stands for.
func atSnapshot(t *testing.T, c *clustertest.Cluster, b index.Batch) {
	t.Helper()
	var of struct {
		Cluster string
		Content uint64
	}
	for _, name := range []string{"node.json", "snapshot.json"} {
		b, err := os.ReadFile(filepath.Join(c.Dir("n1"), "raft", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &of); err != nil {
			t.Fatal(err)
		}
	}
	x, err := index.Open(t.Context(), index.Options{Path: c.IndexPath("n1")})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	if err := x.Follow(t.Context(), of.Cluster); err != nil {
		t.Fatal(err)
	}
	if _, err := x.ApplyAt(t.Context(), of.Content, b); err != nil {
		t.Fatal(err)
	}
}

func pack(t *testing.T, dir, to string) {
	t.Helper()
	f, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z := gzip.NewWriter(f)
	w := tar.NewWriter(z)
	if err := errors.Join(w.AddFS(os.DirFS(dir)), w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
}

func unpack(t *testing.T, from, dir string) {
	t.Helper()
	f, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		if h.FileInfo().Mode().IsDir() {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
