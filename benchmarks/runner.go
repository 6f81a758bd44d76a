package benchmarks

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/esante-alsace/cigogne/benchmarks/material"
	"github.com/esante-alsace/cigogne/benchmarks/proc"
	"github.com/esante-alsace/cigogne/benchmarks/result"
	"github.com/esante-alsace/cigogne/benchmarks/subject"
)

// Options are those of a Runner.
type Options struct {
	Scratch  string // directory for what subjects keep: on the disk that is measured
	Material string // directory for what is sent: in memory, if there is room
	Rounds   int    // of each case, at the most
	// Enough is how long a workload should take: beyond leastRounds none is
	// begun that would end later. 0 is as long as it takes.
	Enough time.Duration
	Target time.Duration // how long a round should take
	// MaxAmount bounds the units of a round; 0 leaves it to the workload.
	MaxAmount int
	// Settle is how long a subject may go on working after it has answered:
	// what it does then is counted as its own, and disturbs nobody. 0 goes on
	// at once, and leaves it to others to write what it has left in memory.
	Settle time.Duration
	// Memory is made ready before each round, so that nobody waits for what
	// the host of a virtual machine has taken back. May be nil.
	Memory *proc.Memory
	// Profiles is a directory for the node's profiles; "" takes none.
	Profiles string
	// Say is told what happens.
	Say func(format string, args ...any)
}

// Runner runs workloads and gathers what they yield in File.
type Runner struct {
	Options
	File *result.File

	shared map[any]holder // by Case.Shared
}

// contender is a case at work.
type contender struct {
	Case
	holder
	rate    float64 // units per second, of its last round
	stored  int     // units so far
	samples map[result.Measure][]float64
}

// Run runs a workload: every case in every round, in an order that rotates. A
// case that cannot run or fails is left out with a note. What ends the whole
// workload is an error; of what was measured until then File has the rows.
func (r *Runner) Run(ctx context.Context, w Workload) error {
	if r.MaxAmount > 0 {
		w.Amount = min(w.Amount, r.MaxAmount)
	}
	r.Say("%s: %s", w.Name, w.Title)
	r.File.Workloads = append(r.File.Workloads, result.Workload{Name: w.Name, Title: w.Title, Primary: w.Primary})
	began := time.Now()
	defer r.timed(len(r.File.Workloads)-1, began)
	r.stopUnshared(w)
	if w.Open != nil {
		done, err := w.Open(ctx)
		if err != nil {
			r.note("%s is left out: %v", w.Name, err)
			return ctx.Err()
		}
		defer done()
	}
	all := r.start(ctx, w)
	defer func() {
		var own []holder
		for _, c := range all {
			if c.Shared == nil {
				own = append(own, c.holder)
			}
		}
		stop(own)
	}()
	ended := r.rounds(ctx, w, all, began)
	for _, c := range all {
		r.record(w, c)
	}
	r.noteNoise(w, all)
	if ended != nil {
		return ended // what there is was recorded
	}
	for _, c := range all {
		if err := r.profile(ctx, w, c); err != nil {
			r.note("%s: %s: no profile: %v", w.Name, c.Subject.Name(), err)
		}
	}
	return ctx.Err()
}

// rounds runs as many as there is time for, and tells what ended them early.
// Round 0 warms up and finds each case's rate, where a round is more than a unit.
func (r *Runner) rounds(ctx context.Context, w Workload, all []*contender, began time.Time) error {
	most := r.Rounds
	if w.Rounds > 0 {
		most = min(most, w.Rounds)
	}
	first := 0
	if w.Amount == 1 {
		first = 1
	}
	for n := first; n <= most && (n <= leastRounds || r.roomFor(n-first, began)); n++ {
		if err := r.round(ctx, w, all, n); err != nil {
			return err
		}
	}
	return nil
}

// leastRounds are those that a workload gets however long it takes.
const leastRounds = 3

// roomFor tells whether another round would end in time, when it takes as long
// as those that are done on average, with what went before them.
func (r *Runner) roomFor(done int, began time.Time) bool {
	took := time.Since(began)
	return r.Enough == 0 || took+took/time.Duration(max(done, 1)) <= r.Enough
}

// timed keeps how long the n-th workload took.
func (r *Runner) timed(n int, began time.Time) {
	w := &r.File.Workloads[n]
	w.Seconds = time.Since(began).Seconds()
	r.Say("  %.0f s", w.Seconds)
}

// quiet waits until the subject has nothing left to do, nor the disk.
func (r *Runner) quiet(ctx context.Context, s *subject.Running) {
	if r.Settle > 0 {
		s.Quiet(ctx, r.Settle)
		syscall.Sync()
	}
}

// longestNote is in bytes: errors quote what a peer has answered.
const longestNote = 300

func (r *Runner) note(format string, args ...any) {
	n := strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ")
	n = n[:min(len(n), longestNote)]
	if !slices.Contains(r.File.Notes, n) {
		r.File.Notes = append(r.File.Notes, n)
		r.Say("  note: %s", n)
	}
}

func (r *Runner) start(ctx context.Context, w Workload) []*contender {
	var all []*contender
	for _, c := range w.Cases {
		r.File.Promises[c.Subject.Name()] = c.Subject.Promise()
		h, err := r.holderOf(ctx, w, c)
		switch {
		case errors.Is(err, subject.ErrMissing):
			r.note("%s is left out: %v", c.Subject.Name(), err)
		case err != nil:
			r.note("%s: %s is left out: %v", w.Name, c.Subject.Name(), err)
		default:
			all = append(all, &contender{Case: c, holder: h, samples: map[result.Measure][]float64{}})
		}
	}
	return all
}

// least is the fewest units that the workload is measured with.
func (w Workload) least() int {
	if w.Least > 0 {
		return min(w.Least, w.Amount)
	}
	return max(1, w.Amount/25)
}

// inTarget is how many units a case does in the time of a round.
func (r *Runner) inTarget(w Workload, c *contender) float64 {
	return c.rate * max(r.Target, w.LeastTarget).Seconds()
}

func (r *Runner) round(ctx context.Context, w Workload, all []*contender, n int) error {
	series, err := r.material(w, w.Amount, n)
	if err != nil {
		return err
	}
	if series != nil {
		defer series.Remove() //nolint:errcheck // the scratch directory goes at the end
	}
	for i := range all {
		c := all[(i+n)%len(all)]
		if n == 0 {
			err = r.warmUp(ctx, w, c, series)
		} else {
			amount := w.Amount
			if !c.Whole {
				amount = min(amount, max(w.least(), int(r.inTarget(w, c))))
			}
			err = r.one(ctx, w, c, series.Part(0, amount), amount, n)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			r.note("%s: %s failed in round %d: %v", w.Name, c.Subject.Name(), n, err)
		}
	}
	return nil
}

// warmUp finds the rate of a case: with a few units, and with all the others
// unless it is slow.
func (r *Runner) warmUp(ctx context.Context, w Workload, c *contender, series *material.Series) error {
	few := w.least()
	if err := r.one(ctx, w, c, series.Part(0, few), few, 0); err != nil {
		return err
	}
	rest := w.Amount - few
	if rest == 0 || float64(rest) > r.inTarget(w, c) {
		return nil
	}
	return r.one(ctx, w, c, series.Part(few, w.Amount), rest, 0)
}

func (r *Runner) material(w Workload, n, round int) (*material.Series, error) {
	if w.Material == nil {
		return nil, nil
	}
	seed := material.Seed(w.Name, round, r.File.Taken.UnixNano())
	return w.Material(filepath.Join(r.Material, fmt.Sprintf("%s-%d", w.Name, round)), n, seed)
}

// one runs and measures one round of one case.
func (r *Runner) one(ctx context.Context, w Workload, c *contender, series *material.Series, amount, n int) error {
	rd := Round{At: c.running.Endpoints, Amount: amount, Series: series}
	if c.Prepare != nil {
		if err := c.Prepare(ctx, rd); err != nil {
			return err
		}
		r.quiet(ctx, c.running)
	}
	if n > 0 {
		if err := r.Memory.Ready(); err != nil {
			return err
		}
	}
	before, err := c.running.Usage()
	if err != nil {
		return err
	}
	busy, own, began := proc.Busy(), proc.Own(), time.Now()
	work, err := c.Drive(ctx, rd)
	if err != nil {
		return err
	}
	r.quiet(ctx, c.running)
	after, err := c.running.Usage()
	if err != nil {
		return err
	}
	used := after.CPU - before.CPU
	foreign := proc.Busy() - busy - (proc.Own() - own) - used
	c.rate = float64(work.Units) / work.Elapsed.Seconds()
	if w.Material != nil {
		c.stored += work.Units
	}
	if n == 0 {
		return nil
	}
	share := 100 * max(0, foreign.Seconds()) / time.Since(began).Seconds()
	c.add(w, work, used, share, after.PeakRSS)
	r.Say("  %-28s %10.1f %-14s %5d units in %6.2fs, others %3.0f %% of a processor", c.Subject.Name(),
		last(c.samples[w.Primary]), w.Primary.Unit(), work.Units, work.Elapsed.Seconds(), share)
	return nil
}

func last(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	return values[len(values)-1]
}

const (
	megabyte = 1e6
	gigabyte = 1e9
	// Less than this is too little to divide processor time by, which is
	// counted in hundredths of a second.
	leastForCPU = 20 * megabyte
)

func (c *contender) add(w Workload, work Work, used time.Duration, foreign float64, peak int64) {
	s, seconds := c.samples, work.Elapsed.Seconds()
	put := func(m result.Measure, v float64) { s[m] = append(s[m], v) }
	put(w.Unit, float64(work.Units)/seconds)
	put(result.Throughput, float64(work.Bytes)/megabyte/seconds)
	if peak > 0 {
		put(result.PeakRSS, float64(peak)/megabyte)
		if work.Bytes >= leastForCPU {
			put(result.CPUPerGB, used.Seconds()*gigabyte/float64(work.Bytes))
		}
		put(result.CPUPerUnit, used.Seconds()*1e3/float64(work.Units))
	}
	for m, v := range work.More {
		put(m, v)
	}
	put(result.ForeignShare, foreign)
}

// What is called noise: others using this much of a processor, or rounds that
// lie so far apart.
const (
	noisyForeign = 20.0 // % of a processor
	noisySpread  = 0.4  // of the median
)

func (r *Runner) record(w Workload, c *contender) {
	for m, values := range c.samples {
		r.File.Rows = append(r.File.Rows, result.NewRow(w.Name, c.Subject.Name(), c.Subject.Role(), m, values))
	}
	if len(c.samples) == 0 {
		return
	}
	onDisk := func(m result.Measure, part string, of int) {
		each := float64(proc.DiskUse(filepath.Join(c.dir, "data", part))) / float64(of)
		r.File.Rows = append(r.File.Rows, result.NewRow(w.Name, c.Subject.Name(), c.Subject.Role(), m, []float64{each}))
	}
	if w.Size > 0 && c.Subject.Role() == result.Ours {
		onDisk(result.IndexPerStudy, "index", w.Size)
	}
	if w.Material == nil || c.stored == 0 {
		return
	}
	for m, part := range diskParts(c.Subject.Role()) {
		onDisk(m, part, c.stored)
	}
}

// diskParts are the directories below its data that a subject's use of the disk
// is told of: of ours, the stores.
func diskParts(role result.Role) map[result.Measure]string {
	parts := map[result.Measure]string{result.DiskPerUnit: ""}
	if role == result.Ours {
		parts[result.DiskIndex], parts[result.DiskJournal], parts[result.DiskPacks] = "index", "journal", "archive"
	}
	return parts
}

// noteNoise says when a workload had not the machine for itself, and whose
// rounds lie far apart.
func (r *Runner) noteNoise(w Workload, all []*contender) {
	var shares []float64
	var apart []string
	for _, c := range all {
		shares = append(shares, c.samples[result.ForeignShare]...)
		if row, ok := r.File.Row(w.Name, c.Subject.Name(), w.Primary); ok && row.Spread() > noisySpread {
			apart = append(apart, fmt.Sprintf("%s %.0f %%", c.Subject.Name(), 100*row.Spread()))
		}
	}
	if f := result.Median(shares); f > noisyForeign {
		r.note("%s: noisy: other programs used %.0f %% of a processor", w.Name, f)
	}
	if len(apart) > 0 {
		r.note("%s: noisy: rounds lie apart: %s", w.Name, strings.Join(apart, ", "))
	}
}
