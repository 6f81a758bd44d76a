// Package benchmarks runs Cigogne, its peers and the limits of the machine
// side by side on the same work. It takes figures and judges none of them.
package benchmarks

import (
	"context"
	"time"

	"github.com/esante-alsace/cigogne/benchmarks/material"
	"github.com/esante-alsace/cigogne/benchmarks/result"
	"github.com/esante-alsace/cigogne/benchmarks/subject"
)

// Workload is work that several subjects are given.
type Workload struct {
	Name  string // unique, in lower case with dashes
	Title string // for people
	// Primary is the measure that is looked at first; it is one of those that
	// every run yields, or that the drivers add.
	Primary result.Measure
	// Unit is how the rate of units is called: result.Instances or
	// result.Requests.
	Unit result.Measure
	// Size is how much the subjects hold, where workloads of several sizes are
	// compared; 0 elsewhere. Those that differ in size alone share a Family.
	Size   int
	Family string
	// Amount is the most units of a round. A subject gets as many of them as
	// it does in the time of a round, but Least, which is by default a
	// twenty-fifth of Amount. A single unit is not warmed up for.
	Amount, Least int
	// Rounds is the most rounds, where each takes much of the disk; 0 leaves
	// it to the run.
	Rounds int
	// LeastTarget is how long a round should take at the least, where a short
	// one would show how transfers begin and little else.
	LeastTarget time.Duration
	// Material is what every round sends anew; nil when it sends nothing.
	Material func(dir string, n int, seed uint64) (*material.Series, error)
	// Open makes what the workload needs, for the time that close ends; nil
	// when it needs nothing.
	Open  func(ctx context.Context) (done func(), err error)
	Cases []Case
}

// Case is how one subject does the work.
type Case struct {
	Subject subject.Subject
	// Before fills the directory before the subject starts, Fill the subject
	// after; either may be nil. Neither is measured.
	Before func(ctx context.Context, dir string) error
	Fill   func(ctx context.Context, at subject.Endpoints) error
	// Shared is comparable, or nil. Cases to which it is equal, of a workload
	// and of those that follow it directly, are driven with one subject, which
	// is filled once: none of them changes what it holds.
	Shared any
	// Prepare gives the subject what it needs for a round, before that is
	// measured; it may be nil.
	Prepare func(ctx context.Context, r Round) error
	// Drive has the subject do a round.
	Drive func(ctx context.Context, r Round) (Work, error)
	// Whole has it do all of Amount in each round, however long that takes.
	Whole bool
	// Host is where the subject listens: default 127.0.0.1.
	Host string
}

// Round is one run of one subject.
type Round struct {
	At     subject.Endpoints
	Series *material.Series // of Amount instances; nil without Material
	Amount int
}

// Work is what a driver has seen done.
type Work struct {
	Bytes   int64
	Units   int
	Elapsed time.Duration
	// More are measures beyond rates, already in their unit.
	More map[result.Measure]float64
}
