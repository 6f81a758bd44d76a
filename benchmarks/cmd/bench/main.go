// Command bench measures Cigogne beside its peers and the limits of this
// machine; see benchmarks/README.md.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/esante-alsace/cigogne/benchmarks"
	"github.com/esante-alsace/cigogne/benchmarks/proc"
	"github.com/esante-alsace/cigogne/benchmarks/report"
	"github.com/esante-alsace/cigogne/benchmarks/result"
	"github.com/esante-alsace/cigogne/benchmarks/subject"
	"github.com/esante-alsace/cigogne/benchmarks/workload"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type flags struct {
	quick, profile, list bool
	set, subjects        string
	scratch, results     string
	real                 string
	rounds               int
	target, enough       time.Duration
	long                 bool
}

func parse(args []string) (flags, error) {
	var f flags
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	set.BoolVar(&f.quick, "quick", false, "the short set, with less of each: a minute and a half")
	set.BoolVar(&f.long, "long", false, "also an index of 10 M studies, which takes long to fill")
	set.BoolVar(&f.profile, "profile", false, "leave CPU, allocation, mutex and block profiles of our node beside the results")
	set.BoolVar(&f.list, "list", false, "list the workloads and end")
	set.StringVar(&f.set, "set", "", "workloads `NAME,...`; a name may end with *")
	set.StringVar(&f.subjects, "subjects", "", "only these subjects `NAME,...` of each workload; a name may end with *")
	set.StringVar(&f.scratch, "scratch", os.TempDir(), "directory on the disk that is to be measured")
	set.StringVar(&f.results, "results", "benchmarks/results", "directory for results and the report")
	set.StringVar(&f.real, "real", filepath.Join(dicomDir(), "series", "mr-ge-epi-150"), "directory of a real series")
	set.IntVar(&f.rounds, "rounds", 0, "rounds of each case, however long they take (3 to 5; quick: 2)")
	set.DurationVar(&f.target, "target", 0, "how long a round should take (1.5s; quick: 0.5s)")
	err := set.Parse(args)
	if f.rounds == 0 {
		f.rounds = 5
		f.enough = 30 * time.Second
		if f.quick {
			f.rounds = 2
		}
	}
	if f.target == 0 {
		f.target = 1500 * time.Millisecond
		if f.quick {
			f.target = 500 * time.Millisecond
		}
	}
	return f, err
}

// dicomDir is where real files lie, when there are any.
func dicomDir() string { return cmp.Or(os.Getenv("CIGOGNE_DICOM_DIR"), "../shared/dicom") }

func run(ctx context.Context, args []string) error {
	f, err := parse(args)
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp(f.scratch, "cigogne-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	memory, err := os.MkdirTemp(inMemory(scratch), "cigogne-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(memory)
	settings := f.settings(memory)
	if !f.list {
		if settings.Programs, err = subject.Build(ctx, scratch); err != nil {
			return err
		}
	}
	work, err := f.workloads(settings)
	if err != nil {
		return err
	}
	if f.list {
		for _, w := range work {
			fmt.Printf("%-18s %s\n", w.Name, w.Title)
		}
		return nil
	}
	return f.measure(ctx, work, scratch, memory)
}

// inMemory is a directory in memory: what is sent should cost no disk.
func inMemory(otherwise string) string {
	const shm = "/dev/shm"
	if info, err := os.Stat(shm); err == nil && info.IsDir() {
		return shm
	}
	return otherwise
}

func (f flags) settings(memory string) workload.Settings {
	s := workload.Settings{
		Material: memory, Real: f.real, Pprof: f.profile,
		Instances: 500, Studies: []int{20_000, 1_000_000}, PeerStudies: 5000,
	}
	if f.quick {
		s.Instances, s.Studies, s.PeerStudies = 200, []int{2000, 20_000}, 500
	}
	if f.long {
		s.Studies = append(s.Studies, 10_000_000)
	}
	return s
}

func (f flags) workloads(s workload.Settings) ([]benchmarks.Workload, error) {
	all, err := workload.All(s), error(nil)
	switch {
	case f.set != "":
		all, err = workload.Select(all, strings.Split(f.set, ","))
	case f.quick:
		all, err = workload.Select(all, workload.Quick())
	}
	if err != nil {
		return nil, err
	}
	if f.subjects == "" {
		if f.quick && f.set == "" {
			return workload.Only(all, workload.QuickSubjects())
		}
		return all, nil
	}
	return workload.Only(all, strings.Split(f.subjects, ","))
}

func (f flags) measure(ctx context.Context, work []benchmarks.Workload, scratch, memory string) error {
	file, err := describe(ctx, scratch)
	if err != nil {
		return err
	}
	file.Quick = f.quick
	settle := 3 * time.Second
	var ready *proc.Memory // to make it ready takes as long as a quick round
	if f.quick {
		settle = 500 * time.Millisecond
	} else if ready, err = proc.NewMemory(scratch, proc.LeftFree); err != nil {
		return err
	}
	defer ready.Close()
	r := &benchmarks.Runner{File: file, Options: benchmarks.Options{
		Scratch: scratch, Material: memory, Rounds: f.rounds, Enough: f.enough, Target: f.target, Settle: settle, Memory: ready,
		Say: func(format string, args ...any) { fmt.Printf(format+"\n", args...) },
	}}
	defer r.Close()
	if f.profile {
		r.Profiles = filepath.Join(f.results, "profiles", strings.TrimSuffix(file.Name(), ".json"))
	}
	for _, w := range work {
		if ended := r.Run(ctx, w); ended != nil {
			file.Notes = append(file.Notes, fmt.Sprintf("the run was ended in %s: %v", w.Name, ended))
			return errors.Join(ended, tell(file, work, f.results))
		}
		if _, err := file.Write(f.results); err != nil { // an hour is long enough for a machine to fail in
			return err
		}
	}
	return tell(file, work, f.results)
}

// tell prints, keeps and draws what was measured.
func tell(file *result.File, work []benchmarks.Workload, results string) error {
	benchmarks.Growth(file, work)
	file.Seconds = time.Since(file.Taken).Seconds()
	fmt.Println()
	if err := report.Table(os.Stdout, file); err != nil {
		return err
	}
	path, err := file.Write(results)
	if err != nil {
		return err
	}
	page, err := report.Page(results)
	if err != nil {
		return err
	}
	fmt.Printf("\nresults: %s\nreport:  %s\n", path, page)
	return nil
}
