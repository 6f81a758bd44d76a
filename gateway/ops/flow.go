package ops

import (
	"sync"
	"time"
)

// Counters are the bytes that a node has counted since it started.
type Counters struct{ Received, Sent int64 }

// Flow is what passed through a node, in equal steps of time.
type Flow struct {
	// Step is in seconds. The last step ended at End, in seconds of Unix time,
	// a multiple of Step.
	Step int64 `json:"step"`
	End  int64 `json:"end"`
	// Received and Sent are bytes per second in each step; -1 where the node
	// did not count.
	Received []int64 `json:"received"`
	Sent     []int64 `json:"sent"`
}

const (
	// recentStep and dayStep are the steps of the two flows in seconds, of
	// which recentSteps and daySteps are kept: ten minutes and a day.
	recentStep, recentSteps = 2, 300
	dayStep, daySteps       = 120, 720
	unknown                 = -1
)

// Gauge samples a node's Counters. It takes some 20 KB, however long it runs.
type Gauge struct {
	mu     sync.Mutex
	last   Counters
	at     time.Time // of last; zero before the first
	recent ring
	day    ring
	// What is summed up for the day's step that goes on, until sumsEnd.
	sums    [2]int64
	parts   int64
	sumsEnd int64
}

// ring holds the newest steps of two rates.
type ring struct {
	step int64
	end  int64 // of the newest, in seconds of Unix time
	all  [][2]int64
	most int
}

// put adds the rates of the step that ended at end. Steps that were left out
// are unknown.
func (r *ring) put(end int64, rates [2]int64) {
	if r.end != 0 {
		missing := (end-r.end)/r.step - 1
		if missing < 0 || missing >= int64(r.most) { // the clock was set
			r.all, missing = nil, 0
		}
		for range missing {
			r.all = append(r.all, [2]int64{unknown, unknown})
		}
	}
	r.end = end
	r.all = append(r.all, rates)
	if over := len(r.all) - r.most; over > 0 {
		r.all = append(r.all[:0], r.all[over:]...)
	}
}

func (r *ring) flow() Flow {
	f := Flow{Step: r.step, End: r.end, Received: make([]int64, len(r.all)), Sent: make([]int64, len(r.all))}
	for i, v := range r.all {
		f.Received[i], f.Sent[i] = v[0], v[1]
	}
	return f
}

// NewGauge returns a Gauge that has counted nothing yet.
func NewGauge() *Gauge {
	return &Gauge{recent: ring{step: recentStep, most: recentSteps}, day: ring{step: dayStep, most: daySteps}}
}

// Sample notes the counters as they are now. It is called every second or so;
// a step is as long as it was since the last one.
func (g *Gauge) Sample(now time.Time, c Counters) {
	g.mu.Lock()
	defer g.mu.Unlock()
	step := now.Unix() / recentStep * recentStep
	if g.at.IsZero() || now.Unix() < g.at.Unix() { // the first, or the clock was set
		g.last, g.at = c, now
		return
	}
	if step <= g.at.Unix()/recentStep*recentStep {
		return
	}
	span := now.Sub(g.at).Seconds()
	rates := [2]int64{rate(c.Received-g.last.Received, span), rate(c.Sent-g.last.Sent, span)}
	g.last, g.at = c, now
	g.recent.put(step, rates)
	g.sumUp(step, rates)
}

// sumUp adds a step to that of the day, and puts the one that is over.
func (g *Gauge) sumUp(step int64, rates [2]int64) {
	end := (step + dayStep - 1) / dayStep * dayStep
	if g.parts > 0 && end != g.sumsEnd {
		g.day.put(g.sumsEnd, [2]int64{g.sums[0] / g.parts, g.sums[1] / g.parts})
		g.sums, g.parts = [2]int64{}, 0
	}
	g.sumsEnd = end
	for i := range rates {
		g.sums[i] += rates[i]
	}
	g.parts++
}

func rate(n int64, seconds float64) int64 { return int64(float64(max(n, 0)) / seconds) }

// Flows are what passed in the last minutes and in the last day.
func (g *Gauge) Flows() (recent, day Flow) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.recent.flow(), g.day.flow()
}
