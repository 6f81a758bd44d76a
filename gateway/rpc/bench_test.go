package rpc

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
)

// indexed answers out of a real index.
type indexed struct {
	*parts
	x *index.Index
}

func (r indexed) Find(ctx context.Context, q index.Query) iter.Seq2[dicom.DataSet, error] {
	return r.x.Search(ctx, q)
}

func (r indexed) Events(ctx context.Context, after int64, limit int) ([]index.Event, error) {
	return r.x.Events(ctx, after, limit)
}

func (r indexed) Happened() <-chan struct{} { return r.x.Happened() }

func newIndexed(b testing.TB, studies int) indexed {
	b.Helper()
	x, err := index.Open(b.Context(), index.Options{Path: filepath.Join(b.TempDir(), "index.db")})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { x.Close() })
	p := indextest.Population{Seed: 7, MaxSeries: 1, MaxInstances: 1}
	var batch index.Batch
	for i := range studies {
		batch.Received = append(batch.Received, p.Study(i)...)
		if len(batch.Received) < 1000 && i < studies-1 {
			continue
		}
		batch.Through = batch.Received[len(batch.Received)-1].At
		if _, err := x.Apply(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
		batch = index.Batch{}
	}
	return indexed{&parts{}, x}
}

// BenchmarkSearch10000 reads 10,000 studies, from the index itself and over
// gRPC and REST in pages.
func BenchmarkSearch10000(b *testing.B) {
	const rows = 10_000
	real := newIndexed(b, rows+100)
	s := serve(b, real, Limits{Rate: 1 << 30})
	client := pb.NewStudiesClient(s.dial(b))
	full := func(b *testing.B, got int) {
		b.Helper()
		if got != rows {
			b.Fatalf("%d rows", got)
		}
	}
	b.Run("index", func(b *testing.B) {
		for b.Loop() {
			n := 0
			for _, err := range real.x.Search(b.Context(), index.Query{Level: index.Study, Limit: rows}) {
				if err != nil {
					b.Fatal(err)
				}
				n++
			}
			full(b, n)
		}
	})
	for _, page := range []int32{1000, 10_000} {
		b.Run(fmt.Sprintf("gRPC, pages of %d", page), func(b *testing.B) {
			for b.Loop() {
				n := 0
				for req := (&pb.StudiesSearchRequest{PageSize: page}); n < rows; {
					answer, err := client.Search(b.Context(), req)
					if err != nil {
						b.Fatal(err)
					}
					n = min(n+len(answer.Studies), rows)
					req.PageToken = answer.NextPageToken
				}
				full(b, n)
			}
		})
		b.Run(fmt.Sprintf("REST, pages of %d", page), func(b *testing.B) {
			for b.Loop() {
				n := 0
				for token := ""; n < rows; {
					var answer struct {
						Studies       []json.RawMessage
						NextPageToken string
					}
					r, err := http.Get(fmt.Sprintf("http://%s/v1/studies?pageSize=%d&pageToken=%s", s.addr, page, token))
					if err != nil {
						b.Fatal(err)
					}
					if err := json.NewDecoder(r.Body).Decode(&answer); err != nil {
						b.Fatal(err)
					}
					r.Body.Close()
					n, token = min(n+len(answer.Studies), rows), answer.NextPageToken
				}
				full(b, n)
			}
		})
	}
}

// BenchmarkFeed streams events as they are applied, 100 in each batch, to one
// watcher and to many. Nothing may be skipped; what is told is how many events
// a second reach every watcher, and how long after their batch the last came.
func BenchmarkFeed(b *testing.B) {
	for _, pace := range []time.Duration{0, 20 * time.Millisecond} { // as fast as can be, and 5,000 a second
		for _, watchers := range []int{1, 32} {
			name := fmt.Sprintf("%d watchers, unpaced", watchers)
			if pace > 0 {
				name = fmt.Sprintf("%d watchers, 5000 a second", watchers)
			}
			b.Run(name, func(b *testing.B) { feed(b, pace, watchers) })
		}
	}
}

func feed(b *testing.B, pace time.Duration, watchers int) {
	real := newIndexed(b, 0)
	s := serve(b, real, Limits{})
	const batch = 100
	seed := index.Batch{Stamp: &index.Stamp{At: 1_000_000_000}, Notes: notes(0, 1)}
	if _, err := real.x.Apply(b.Context(), seed); err != nil {
		b.Fatal(err)
	}
	_, start, err := real.x.Feed(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	total := int64(b.N * batch)
	var mu sync.Mutex
	var lag time.Duration
	var all sync.WaitGroup
	for range watchers {
		w, err := pb.NewEventsClient(s.dial(b)).Watch(b.Context(), &pb.EventsWatchRequest{AfterSequence: start})
		if err != nil {
			b.Fatal(err)
		}
		all.Go(func() {
			for last := start; last < start+total; {
				m, err := w.Recv()
				if err != nil {
					b.Error(err)
					return
				}
				for _, e := range m.Events {
					if last++; e.Sequence != last {
						b.Errorf("%d instead of %d", e.Sequence, last)
						return
					}
				}
				if n := len(m.Events); n > 0 {
					mu.Lock()
					lag = max(lag, time.Since(m.Events[n-1].Time.AsTime()))
					mu.Unlock()
				}
			}
		})
	}
	b.ResetTimer()
	began := time.Now()
	for i := range b.N {
		time.Sleep(time.Until(began.Add(time.Duration(i) * pace)))
		one := index.Batch{Stamp: &index.Stamp{At: time.Now().UnixNano(), Keep: 250_000}, Notes: notes(i*batch, batch)}
		if _, err := real.x.Apply(b.Context(), one); err != nil {
			b.Fatal(err)
		}
	}
	all.Wait()
	b.ReportMetric(float64(total)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(lag.Milliseconds()), "ms-behind-at-most")
}

func notes(from, n int) (list []index.Event) {
	for i := range n {
		list = append(list, index.Event{Kind: index.EventRetrieved, StudyInstanceUID: fmt.Sprintf("2.25.%d", 1+(from+i)%5000), Instances: 10, Bytes: 5 << 20})
	}
	return list
}
