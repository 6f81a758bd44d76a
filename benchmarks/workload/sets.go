package workload

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/esante-alsace/cigogne/benchmarks"
	"github.com/esante-alsace/cigogne/benchmarks/material"
	"github.com/esante-alsace/cigogne/benchmarks/result"
	"github.com/esante-alsace/cigogne/benchmarks/subject"
)

// Settings are what the workloads are made with.
type Settings struct {
	Programs subject.Programs
	Material string // directory for series that subjects hold
	Real     string // directory of a real series; none leaves it out
	Pprof    bool   // our node serves profiles
	// Studies is how large the index is that is queried, in the order of
	// growth; none leaves QIDO-RS out.
	Studies []int
	// Instances is how many a series has: 500 unless it is a test.
	Instances int
	// PeerStudies bounds what a peer's index is filled with: it is slow.
	PeerStudies int

	series, few *held // what is retrieved, and what by waiting for each instance
}

func (s Settings) ours() subject.Cigogne {
	return subject.Cigogne{Program: s.Programs.Cigogne, Pprof: s.Pprof}
}

func (s Settings) oursNoFsync() subject.Cigogne {
	c := s.ours()
	c.NoFsync = true
	return c
}

func (s Settings) bare(fsync bool) subject.Bare {
	return subject.Bare{Program: s.Programs.Bare, Fsync: fsync}
}

// frames are those of the multi-frame: 400 are 210 MB.
func (s Settings) frames() int { return min(400, 2*s.Instances) }

// All are the workloads, those that share subjects next to one another.
func All(s Settings) []benchmarks.Workload {
	var all []benchmarks.Workload
	s.series = s.hold("held-ct", material.Kind{Modality: "CT"}, s.Instances)
	s.few = s.hold("held-few", material.Kind{Modality: "CT"}, min(30, s.Instances))
	for _, n := range []int{1, 4, 16} {
		all = append(all, s.cstore(n))
	}
	all = append(all, s.cstoreWindow(1), s.cstoreWindow(16), s.packing(), s.morning())
	for _, n := range []int{1, 4, 16} {
		all = append(all, s.stow(n))
	}
	all = append(all, s.tinyStow(), s.cstoreReal())
	all = append(all, s.clients()...)
	all = append(all, s.metadata(s.series))
	for _, n := range []int{1, 4, 16} {
		all = append(all, s.wado(s.series, n)...)
	}
	all = append(all, s.studyFirst(), s.s3Store(), s.s3Study(s.series))
	multiframe := s.hold("held-multiframe", material.Kind{Modality: "CT", Frames: s.frames()}, 1)
	all = append(all, s.farFrame(multiframe, 1), s.farFrame(multiframe, 4))
	all = append(all, s.hugeIn(), s.hugeOut())
	for _, n := range s.Studies {
		all = append(all, s.queries(n))
	}
	return append(all, s.lines()...)
}

// Quick names those of the short run.
func Quick() []string {
	return []string{
		"cstore-1", "cstore-4", "cstore-window-16", "stow-1", "stow-tiny",
		"wado-study-1", "wado-instance-1", "wado-frame-1", "metadata", "qido-20k",
	}
}

// QuickSubjects names those of the short run: of each kind of peer and limit one.
func QuickSubjects() []string {
	return []string{
		"cigogne", "cigogne no fsync", "cigogne packed", "orthanc", "dcmqrscp",
		"bare fsync", "segment fsync 8", "files fsync", "nginx", "loopback",
	}
}

// Select keeps the workloads with these names; a name may end with '*'.
func Select(all []benchmarks.Workload, names []string) ([]benchmarks.Workload, error) {
	var chosen []benchmarks.Workload
	used := map[string]bool{}
	for _, w := range all {
		for _, n := range names {
			if ok, err := filepath.Match(n, w.Name); err != nil {
				return nil, err
			} else if ok {
				used[n] = true
				chosen = append(chosen, w)
				break
			}
		}
	}
	for _, n := range names {
		if !used[n] && !strings.Contains(n, "*") {
			return nil, fmt.Errorf("there is no workload %q", n)
		}
	}
	return chosen, nil
}

// Only keeps the cases of subjects with these names, and the workloads that
// have any; a name may end with '*'.
func Only(all []benchmarks.Workload, subjects []string) ([]benchmarks.Workload, error) {
	var kept []benchmarks.Workload
	for _, w := range all {
		var cases []benchmarks.Case
		for _, c := range w.Cases {
			for _, s := range subjects {
				ok, err := filepath.Match(s, c.Subject.Name())
				if err != nil {
					return nil, err
				}
				if ok {
					cases = append(cases, c)
					break
				}
			}
		}
		if w.Cases = cases; len(cases) > 0 {
			kept = append(kept, w)
		}
	}
	if len(kept) == 0 {
		return nil, fmt.Errorf("no workload has a subject %q", subjects)
	}
	return kept, nil
}

func ct(dir string, n int, seed uint64) (*material.Series, error) {
	return material.Write(dir, material.Kind{Modality: "CT"}, n, seed)
}

func tiny(dir string, n int, seed uint64) (*material.Series, error) {
	return material.Write(dir, material.Kind{Modality: "CR"}, n, seed)
}

func (s Settings) cstore(n int) benchmarks.Workload {
	send := storescu(n, false)
	cases := s.receivers(send)
	if n <= fewClients {
		cases = append(cases,
			benchmarks.Case{Subject: subject.Orthanc{NoDelay: true}, Drive: send},
			benchmarks.Case{Subject: named{subject.Orthanc{NoDelay: true}, "orthanc nodelay both"}, Drive: storescu(n, true)},
			benchmarks.Case{Subject: subject.Client{Title: "loopback", Safe: "none: TCP alone"}, Drive: loopback(n)})
	}
	return benchmarks.Workload{
		Name: fmt.Sprintf("cstore-%d", n), Title: fmt.Sprintf("C-STORE by stock storescu, %d association(s), CT of 526 KB", n),
		Primary: result.Throughput, Unit: result.Instances, Amount: s.Instances, Material: ct, Cases: cases,
	}
}

// fewClients are those with which variants of a subject are compared; with more
// only the subjects are.
const fewClients = 4

// receivers are those that take C-STORE, all driven alike.
func (s Settings) receivers(send driver) []benchmarks.Case {
	return []benchmarks.Case{
		{Subject: s.ours(), Drive: send},
		{Subject: s.bare(true), Drive: send},
		{Subject: s.oursNoFsync(), Drive: send},
		{Subject: s.bare(false), Drive: send},
		{Subject: subject.Orthanc{}, Drive: send},
		{Subject: subject.Orthanc{PostgreSQL: true}, Drive: send},
		{Subject: subject.DCMQRSCP{}, Drive: send},
	}
}

func (s Settings) cstoreWindow(window int) benchmarks.Workload {
	send := ourSCU(1, window)
	return benchmarks.Workload{
		Name: fmt.Sprintf("cstore-window-%d", window), Title: fmt.Sprintf("C-STORE by our SCU, 1 association, asynchronous window of %d, CT of 526 KB", window),
		Primary: result.Throughput, Unit: result.Instances, Amount: s.Instances, Material: ct,
		Cases: []benchmarks.Case{
			{Subject: s.ours(), Drive: send},
			{Subject: s.bare(true), Drive: send},
			{Subject: s.oursNoFsync(), Drive: send},
			{Subject: s.bare(false), Drive: send},
			{Subject: subject.Orthanc{}, Drive: send},
		},
	}
}

// packing is C-STORE while what came before is being packed.
func (s Settings) packing() benchmarks.Workload {
	send := storescu(4, false)
	packing := func(compression string) benchmarks.Case {
		c := s.ours()
		c.Settle, c.Compression, c.Label = time.Second, compression, "packing"
		if compression != "none" {
			c.Label += " " + compression
		}
		return benchmarks.Case{Subject: c, Drive: send}
	}
	return benchmarks.Workload{
		Name: "cstore-packing", Title: "C-STORE by stock storescu, 4 associations, while series are packed after a second",
		Primary: result.Throughput, Unit: result.Instances, Amount: s.Instances, Material: ct,
		Cases: []benchmarks.Case{
			packing("none"), packing("deflate"), packing("zstd"),
			{Subject: s.ours(), Drive: send},
		},
	}
}

func (s Settings) stow(n int) benchmarks.Workload {
	send := stow(n, 20)
	return benchmarks.Workload{
		Name: fmt.Sprintf("stow-%d", n), Title: fmt.Sprintf("STOW-RS, 20 per request, %d connection(s), CT of 526 KB", n),
		Primary: result.Throughput, Unit: result.Instances, Amount: s.Instances, Material: ct,
		Cases: []benchmarks.Case{
			{Subject: s.ours(), Drive: send},
			{Subject: subject.Client{Title: "segment fsync 8", Safe: "one file, fsync for every 8 instances"}, Drive: diskSegment(n, 8)},
			{Subject: s.oursNoFsync(), Drive: send},
			{Subject: subject.Orthanc{}, Drive: send},
			{Subject: subject.Orthanc{PostgreSQL: true}, Drive: send},
			{Subject: subject.Client{Title: "files fsync", Safe: "a file for each instance, fsynced"}, Drive: diskFiles(n, true)},
			{Subject: subject.Client{Title: "files", Safe: "none: a file for each instance, not fsynced"}, Drive: diskFiles(n, false)},
		},
	}
}

func (s Settings) tinyStow() benchmarks.Workload {
	send := stow(4, 1)
	return benchmarks.Workload{
		Name: "stow-tiny", Title: "STOW-RS, 1 per request, 4 connections, CR of 22 KB",
		Primary: result.Requests, Unit: result.Requests, Amount: 8 * s.Instances, Material: tiny,
		Cases: []benchmarks.Case{
			{Subject: s.ours(), Drive: send},
			{Subject: subject.Client{Title: "files fsync", Safe: "a file for each instance, fsynced"}, Drive: diskFiles(4, true)},
			{Subject: s.oursNoFsync(), Drive: send},
			{Subject: subject.Orthanc{}, Drive: send},
			{Subject: subject.Orthanc{PostgreSQL: true}, Drive: send},
		},
	}
}

// named is a subject under another name: one that is driven in another way.
type named struct {
	subject.Subject
	name string
}

// Name implements subject.Subject.
func (n named) Name() string { return n.name }
