package workload

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/esante-alsace/cigogne/benchmarks"
	"github.com/esante-alsace/cigogne/benchmarks/material"
	"github.com/esante-alsace/cigogne/benchmarks/result"
	"github.com/esante-alsace/cigogne/benchmarks/subject"
)

// hold is a series for workloads that only read.
func (s Settings) hold(name string, kind material.Kind, n int) *held {
	return &held{dir: func() string { return filepath.Join(s.Material, name) }, kind: kind, n: n, seed: material.Seed(name, time.Now().UnixNano())}
}

// packed is our node with what it holds in packs, compressed so; filledAndPacked
// waits until they are.
func (s Settings) packed(compression string) subject.Cigogne {
	c := s.ours()
	c.Settle, c.Compression, c.Label = 200*time.Millisecond, compression, "packed"
	if compression != "none" {
		c.Label += " " + compression
	}
	return c
}

// packedCases are the forms in which packs may lie: with one client all, with
// more only what is the default.
func (s Settings) packedCases(h *held, clients int, drive driver) (cases []benchmarks.Case) {
	forms := []string{"none", "deflate", "zstd"}
	if clients > 1 {
		forms = forms[:1]
	}
	for _, compression := range forms {
		cases = append(cases, h.by(s.packed(compression), h.filledAndPacked, drive))
	}
	return cases
}

// filledAndPacked stores the series and waits until the archive has all of it.
func (h *held) filledAndPacked(ctx context.Context, at subject.Endpoints) error {
	if err := h.filled(ctx, at); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		indexed, err := metric(ctx, at, `cigogne_index_held{kind="instances"}`)
		live, lerr := metric(ctx, at, `cigogne_index_held{kind="live"}`)
		if err := errors.Join(err, lerr); err != nil {
			return err
		}
		if int(indexed) == h.n && live == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d instances are not packed in time: %w", h.n, ctx.Err())
		}
	}
}

// by is a case of a subject that holds the series and is only read from. Cases of
// an equal subject share it.
func (h *held) by(s subject.Subject, fill func(context.Context, subject.Endpoints) error, drive driver) benchmarks.Case {
	type holding struct {
		what *held
		by   subject.Subject
	}
	return benchmarks.Case{Subject: s, Fill: fill, Drive: drive, Shared: holding{h, s}}
}

// metric is what our node says of itself, added up where it has several labels;
// 0 when it does not say it.
func metric(ctx context.Context, at subject.Endpoints, name string) (float64, error) {
	rq, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(at.Web, "/dicom-web")+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	answer, err := http.DefaultClient.Do(rq)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	sum := 0.0
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), name)
		if !ok || !strings.HasPrefix(rest, " ") && !strings.HasPrefix(rest, "{") {
			continue
		}
		value, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			return 0, err
		}
		sum += value
	}
	return sum, lines.Err()
}

// wado is study, instance, frame and series retrieval with n clients. The series
// is all of the study: variants of subjects are not measured again, and as it
// comes last they run until then.
func (s Settings) wado(h *held, n int) []benchmarks.Workload {
	peers := func(ours, file func(int) ask) []benchmarks.Case {
		return []benchmarks.Case{
			h.by(s.ours(), h.filled, gets(n, web, ours)),
			h.by(subject.Nginx{}, h.asFiles, gets(n, files, file)),
			h.by(subject.Orthanc{}, h.filled, gets(n, web, ours)),
		}
	}
	both := func(ours, file func(int) ask) []benchmarks.Case {
		cases := peers(ours, file)
		if n > fewClients {
			return cases
		}
		return append(append(cases, s.packedCases(h, n, gets(n, web, ours))...),
			h.by(subject.Orthanc{PostgreSQL: true}, h.filled, gets(n, web, ours)))
	}
	return []benchmarks.Workload{
		{
			Name: fmt.Sprintf("wado-study-%d", n), Title: fmt.Sprintf("WADO-RS, a study of %d CT, %d client(s)", s.Instances, n),
			Primary: result.Throughput, Unit: result.Requests, Amount: 8 * n, Cases: both(h.studyAsk, h.studyFile),
		},
		{
			Name: fmt.Sprintf("wado-instance-%d", n), Title: fmt.Sprintf("WADO-RS, CT instances, %d client(s)", n),
			Primary: result.Requests, Unit: result.Requests, Amount: 12 * s.Instances, Cases: both(h.instanceAsk, h.instanceFile),
		},
		{
			Name: fmt.Sprintf("wado-frame-%d", n), Title: fmt.Sprintf("WADO-RS, frames of CT, %d client(s)", n),
			Primary: result.Requests, Unit: result.Requests, Amount: 12 * s.Instances, Cases: both(h.frameAsk, h.instanceFile),
		},
		{
			Name: fmt.Sprintf("wado-series-%d", n), Title: fmt.Sprintf("WADO-RS, a series of %d CT, %d client(s)", s.Instances, n),
			Primary: result.Throughput, Unit: result.Requests, Amount: 8 * n, Cases: peers(h.seriesAsk, h.studyFile),
		},
	}
}

// studyFirst is the retrieval of a study that was not asked for before: what is
// believed of it for a while afterwards is not known yet.
func (s Settings) studyFirst() benchmarks.Workload {
	ours := func(ctx context.Context, r benchmarks.Round) (benchmarks.Work, error) {
		return askedFor(ctx, r, web, studyAsk(r.Series))
	}
	file := func(ctx context.Context, r benchmarks.Round) (benchmarks.Work, error) {
		return askedFor(ctx, r, files, ask{path: "/study", least: r.Series.Bytes()})
	}
	return benchmarks.Workload{
		Name: "wado-study-first", Title: fmt.Sprintf("WADO-RS, a study of %d CT that nobody has asked for yet, 1 client", s.Instances),
		Primary: result.Throughput, Unit: result.Instances, Amount: s.Instances, Material: ct,
		Cases: []benchmarks.Case{
			{Subject: s.ours(), Prepare: stored, Drive: ours},
			{Subject: subject.Nginx{}, Drive: file, Prepare: func(_ context.Context, r benchmarks.Round) error {
				return asFile(r.Series, filepath.Join(r.At.Dir, "study"))
			}},
			{Subject: subject.Orthanc{}, Prepare: stored, Drive: ours},
		},
	}
}

// askedFor asks for all that a round has.
func askedFor(ctx context.Context, r benchmarks.Round, root func(subject.Endpoints) string, a ask) (benchmarks.Work, error) {
	work, err := once(gets(1, root, func(int) ask { return a }))(ctx, r)
	work.Units = r.Amount
	return work, err
}

func (s Settings) metadata(h *held) benchmarks.Workload {
	get := gets(1, web, h.metadataAsk)
	return benchmarks.Workload{
		Name: "metadata", Title: fmt.Sprintf("metadata of a series of %d instances, 1 client", s.Instances),
		Primary: result.P50, Unit: result.Requests, Amount: 200,
		Cases: []benchmarks.Case{
			h.by(s.ours(), h.filled, get),
			h.by(s.packed("none"), h.filledAndPacked, get),
			h.by(subject.Orthanc{}, h.filled, get),
			h.by(subject.Orthanc{PostgreSQL: true}, h.filled, get),
		},
	}
}

// farFrame is single frames of a multi-frame of 210 MB.
func (s Settings) farFrame(h *held, n int) benchmarks.Workload {
	get := gets(n, web, h.farFrame)
	cases := append([]benchmarks.Case{h.by(s.ours(), h.filled, get)}, s.packedCases(h, n, get)...)
	return benchmarks.Workload{
		Name: fmt.Sprintf("far-frame-%d", n), Title: fmt.Sprintf("WADO-RS, one frame of a multi-frame of 210 MB, %d client(s)", n),
		Primary: result.P50, Unit: result.Requests, Amount: 500, Least: 2 * n, // peers take a second for each
		Cases: append(cases, h.by(subject.Orthanc{}, h.filled, get)),
	}
}
