package gateway

import "time"

// Step is a part of an instance's way through the node.
type Step int

const (
	// StepReceive is from when an instance is awaited to its last byte.
	StepReceive Step = iota
	// StepJournal is from then until it is durable here.
	StepJournal
	// StepCopies is from then until it is on as many nodes as it must be.
	StepCopies
	// StepIndex is from then until it is in the index; a node that has fallen
	// so far behind that it reads its journal does not tell.
	StepIndex
	// StepPut is how long one pack took to be built and put into the archives.
	StepPut
	// StepArchive is from when the last instance of a pack was received until
	// the pack was archived: mostly the time for which a series must be quiet.
	StepArchive

	// Steps is how many there are.
	Steps = iota
)

// String is the step's name in metrics.
func (s Step) String() string {
	return [Steps]string{"receive", "journal", "copies", "index", "put", "archive"}[s]
}

// Clock is told how long the steps took. It is called on the way of every
// instance, by many goroutines, and does not block.
type Clock interface {
	Took(s Step, d time.Duration)
}

// noClock is told for nothing.
type noClock struct{}

func (noClock) Took(Step, time.Duration) {}

func orNoClock(c Clock) Clock {
	if c == nil {
		return noClock{}
	}
	return c
}
