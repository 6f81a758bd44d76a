package gateway_test

import (
	"context"
	"io"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// counted is an archive that counts its readers.
type counted struct {
	archive.Archive
	mu         sync.Mutex
	gets, open int
}

func (c *counted) Get(ctx context.Context, key string, r storage.Range) (io.ReadCloser, error) {
	in, err := c.Archive.Get(ctx, key, r)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gets++
	c.open++
	return &countedReader{ReadCloser: in, of: c}, nil
}

type countedReader struct {
	io.ReadCloser
	of   *counted
	once sync.Once
}

func (r *countedReader) Close() error {
	r.once.Do(func() {
		r.of.mu.Lock()
		defer r.of.mu.Unlock()
		r.of.open--
	})
	return r.ReadCloser.Close()
}

func (c *counted) counts() (gets, open int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gets, c.open
}

// far is a node that holds a study of three series in three packs, and a
// Retriever to which the archive is far away.
func far(t *testing.T) (*counted, *gateway.Retriever, dicomtest.Study) {
	t.Helper()
	c := &counted{Archive: mem.New()}
	n := open(t, t.TempDir(), c)
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 5, Modality: "CR", Series: 3, Instances: 8})
	n.mustStore(study.Instances...)
	n.pass()
	if got := n.packs(); len(got) != 3 {
		t.Fatalf("packs %v, want 3", got)
	}
	c.gets = 0
	return c, gateway.NewRetriever(gateway.RetrieverOptions{
		Index: n.index, Indexer: n.indexer, Journal: n.journal, Archive: c, Far: true,
	}), study
}

// readSome reads some of an instance, all of it when n is negative.
func readSome(ctx context.Context, t *testing.T, in gateway.Instance, n int64) {
	t.Helper()
	about := in.About()
	want := about.DataSet()
	if n < 0 {
		want = storage.Range{Length: about.Size}
	}
	r, err := in.Open(ctx, want)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if n >= 0 {
		if _, err := io.CopyN(io.Discard, r, n); err != nil {
			t.Fatal(err)
		}
		return
	}
	if _, err := io.CopyN(io.Discard, r, about.Prefix); err != nil {
		t.Fatal(err)
	}
	h := storage.NewDigester()
	if _, err := io.Copy(h, r); err != nil {
		t.Fatal(err)
	}
	if h.Digest() != about.Digest {
		t.Errorf("%s: other bytes", about.Key)
	}
}

// TestRuns: instances that are read in order cost one request for each pack
// beside its directory; those that are not are read all the same; and what was
// begun ends with the request.
func TestRuns(t *testing.T) {
	c, reader, study := far(t)
	all := func(ctx context.Context) []gateway.Instance {
		t.Helper()
		found, err := reader.Instances(ctx, gateway.Selector{StudyInstanceUID: study.StudyInstanceUID})
		if err != nil || len(found) != 24 {
			t.Fatalf("%d instances, %v", len(found), err)
		}
		return found
	}
	ctx, cancel := context.WithCancel(t.Context())
	for _, in := range all(ctx) {
		readSome(ctx, t, in, -1)
	}
	cancel()
	if gets, _ := c.counts(); gets != 6 {
		t.Errorf("%d requests for three packs, want 6", gets)
	}
	for name, read := range map[string]func(ctx context.Context, all []gateway.Instance){
		"backwards": func(ctx context.Context, all []gateway.Instance) {
			slices.Reverse(all)
			for _, in := range all {
				readSome(ctx, t, in, -1)
			}
		},
		"parts": func(ctx context.Context, all []gateway.Instance) {
			for i, in := range all {
				readSome(ctx, t, in, int64(i*100))
			}
		},
		"some left out": func(ctx context.Context, all []gateway.Instance) {
			for i, in := range all {
				if i%3 != 1 {
					readSome(ctx, t, in, -1)
				}
			}
		},
		"given up": func(ctx context.Context, all []gateway.Instance) {
			for _, in := range all[:10] {
				readSome(ctx, t, in, -1)
			}
		},
		"at the same time": func(ctx context.Context, all []gateway.Instance) {
			var wait sync.WaitGroup
			for _, in := range all {
				wait.Go(func() { readSome(ctx, t, in, -1) })
			}
			wait.Wait()
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			read(ctx, all(ctx))
			cancel()
			deadline := time.After(time.Minute)
			for { // what was begun ahead is closed by goroutines of the run's own
				if _, open := c.counts(); open == 0 {
					return
				}
				select {
				case <-deadline:
					t.Fatal("a reader is left open")
				default:
					runtime.Gosched()
				}
			}
		})
	}
}
