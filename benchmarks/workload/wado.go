package workload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/esante-alsace/cigogne/benchmarks"
	"github.com/esante-alsace/cigogne/benchmarks/material"
	"github.com/esante-alsace/cigogne/benchmarks/result"
	"github.com/esante-alsace/cigogne/benchmarks/subject"
)

// ask is one GET. Answers shorter than least are a failure.
type ask struct {
	path, accept string
	least        int64
}

// gets has clients ask for what next yields, each after its last answer.
func gets(clients int, root func(subject.Endpoints) string, next func(n int) ask) driver {
	return getsOver(clients, root, next, nil)
}

func getsOver(clients int, root func(subject.Endpoints) string, next func(n int) ask, d dialer) driver {
	return func(ctx context.Context, r benchmarks.Round) (benchmarks.Work, error) {
		c, done := client(clients, d)
		defer done()
		var (
			taken, bytes atomic.Int64
			times        latencies
		)
		g, ctx := errgroup.WithContext(ctx)
		began := time.Now()
		for range clients {
			g.Go(func() error {
				buf := make([]byte, copyBuffer)
				for n := taken.Add(1) - 1; n < int64(r.Amount); n = taken.Add(1) - 1 {
					first, last, length, err := get(ctx, c, root(r.At), next(int(n)), buf)
					if err != nil {
						return err
					}
					bytes.Add(length)
					times.add(first, last)
				}
				return nil
			})
		}
		err := g.Wait()
		return benchmarks.Work{
			Bytes: bytes.Load(), Units: r.Amount, Elapsed: time.Since(began), More: times.measures(),
		}, err
	}
}

func get(ctx context.Context, c *http.Client, root string, a ask, buf []byte) (first, last time.Duration, n int64, err error) {
	rq, err := http.NewRequestWithContext(ctx, http.MethodGet, root+a.path, nil)
	if err != nil {
		return 0, 0, 0, err
	}
	if a.accept != "" {
		rq.Header.Set("Accept", a.accept)
	}
	began := time.Now()
	rsp, err := c.Do(rq)
	if err != nil {
		return 0, 0, 0, err
	}
	defer rsp.Body.Close()
	if rsp.StatusCode != http.StatusOK && rsp.StatusCode != http.StatusNoContent {
		body, err := io.ReadAll(io.LimitReader(rsp.Body, 300))
		return 0, 0, 0, errors.Join(fmt.Errorf("GET %s: %s: %s", a.path, rsp.Status, body), err)
	}
	for {
		m, err := rsp.Body.Read(buf)
		if n == 0 {
			first = time.Since(began)
		}
		n += int64(m)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, 0, 0, err
		}
	}
	if n < a.least {
		err = fmt.Errorf("GET %s: %d bytes, %d expected", a.path, n, a.least)
	}
	return first, time.Since(began), n, err
}

// latencies gathers what a client waits for.
type latencies struct {
	mu          sync.Mutex
	first, last []time.Duration
}

func (l *latencies) add(first, last time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.first, l.last = append(l.first, first), append(l.last, last)
}

func (l *latencies) measures() map[result.Measure]float64 {
	if len(l.last) == 0 {
		return nil
	}
	ms := func(all []time.Duration, percent int) float64 {
		slices.Sort(all)
		return float64(all[min(len(all)*percent/100, len(all)-1)].Microseconds()) / 1e3
	}
	return map[result.Measure]float64{
		result.FirstByte: ms(l.first, 50), result.P50: ms(l.last, 50), result.P99: ms(l.last, 99),
	}
}

func web(at subject.Endpoints) string   { return at.Web }
func files(at subject.Endpoints) string { return at.Files }

const (
	acceptDICOM  = `multipart/related; type="application/dicom"; transfer-syntax=*`
	acceptFrames = `multipart/related; type="application/octet-stream"; transfer-syntax=*`
	acceptJSON   = "application/dicom+json"
)

// held is a series that subjects hold before they are measured. It is written
// when the first of them needs it.
type held struct {
	dir  func() string
	kind material.Kind
	n    int
	seed uint64

	once   sync.Once
	series *material.Series
	err    error
}

func (h *held) get() (*material.Series, error) {
	h.once.Do(func() { h.series, h.err = material.Write(h.dir(), h.kind, h.n, h.seed) })
	return h.series, h.err
}

// filled stores the series in the subject by STOW-RS.
func (h *held) filled(ctx context.Context, at subject.Endpoints) error {
	s, err := h.get()
	if err != nil {
		return err
	}
	return stored(ctx, benchmarks.Round{At: at, Series: s, Amount: len(s.Instances)})
}

// stored stores what a round has by STOW-RS.
func stored(ctx context.Context, r benchmarks.Round) error {
	_, err := stow(1, 20)(ctx, r)
	return err
}

// asFiles lays the instances into a directory, and all of them as one file.
func (h *held) asFiles(_ context.Context, at subject.Endpoints) error {
	if err := h.asFile(filepath.Join(at.Dir, "study")); err != nil {
		return err
	}
	buf := make([]byte, copyBuffer)
	for i := range h.series.Instances {
		m := &h.series.Instances[i]
		if err := writeFile(filepath.Join(at.Dir, m.SOPInstanceUID), m.Path, false, buf); err != nil {
			return err
		}
	}
	return nil
}

// asFile lays all instances into one file.
func (h *held) asFile(path string) error {
	s, err := h.get()
	if err != nil {
		return err
	}
	return asFile(s, path)
}

func asFile(s *material.Series, path string) error {
	study, err := os.Create(path)
	if err != nil {
		return err
	}
	defer study.Close()
	buf := make([]byte, copyBuffer)
	for i := range s.Instances {
		if err := copyFile(study, s.Instances[i].Path, buf); err != nil {
			return err
		}
	}
	return nil
}

// instance is the n-th one, again from the first after the last.
func (h *held) instance(n int) *material.Instance { return &h.series.Instances[n%h.n] }

func (h *held) studyAsk(int) ask { return studyAsk(h.series) }

func studyAsk(s *material.Series) ask {
	return ask{"/studies/" + s.StudyInstanceUID, acceptDICOM, s.Bytes()}
}

func (h *held) seriesAsk(int) ask {
	return ask{seriesPath(h.instance(0)), acceptDICOM, h.series.Bytes()}
}

func (h *held) studyFile(int) ask { return ask{path: "/study", least: h.series.Bytes()} }

func seriesPath(m *material.Instance) string {
	return "/studies/" + m.StudyInstanceUID + "/series/" + m.SeriesInstanceUID
}

func instancePath(m *material.Instance) string {
	return seriesPath(m) + "/instances/" + m.SOPInstanceUID
}

func (h *held) instanceAsk(n int) ask {
	m := h.instance(n)
	return ask{instancePath(m), acceptDICOM, m.Size}
}

func (h *held) instanceFile(n int) ask {
	m := h.instance(n)
	return ask{path: "/" + m.SOPInstanceUID, least: m.Size}
}

// frameBytes is a native frame of 512 x 512 samples of 16 bits.
const frameBytes = 512 * 512 * 2

func (h *held) frameAsk(n int) ask {
	return ask{instancePath(h.instance(n)) + "/frames/1", acceptFrames, frameBytes}
}

// farFrame asks for frames all over a multi-frame instance.
func (h *held) farFrame(n int) ask {
	frame := 1 + n*7919%h.kind.Frames
	return ask{fmt.Sprintf("%s/frames/%d", instancePath(h.instance(0)), frame), acceptFrames, frameBytes}
}

func (h *held) metadataAsk(int) ask {
	m := h.instance(0)
	return ask{"/studies/" + m.StudyInstanceUID + "/series/" + m.SeriesInstanceUID + "/metadata", acceptJSON, int64(h.n) * 500}
}
