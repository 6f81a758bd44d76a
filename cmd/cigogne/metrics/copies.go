package metrics

import (
	"context"
	"math"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/esante-alsace/cigogne/consensus/copies"
	"github.com/esante-alsace/cigogne/gateway"
)

// Copies are those of journals on several nodes.
type Copies struct {
	// Wanted is on how many nodes an instance must lie.
	Wanted func() int
	// Keeper sends the node's journal to others, Holder has theirs, and
	// Evacuator empties retired ones.
	Keeper interface {
		Status() copies.KeeperStatus
		Failing() error
	}
	Holder    interface{ Journals() []string }
	Evacuator interface {
		Left(context.Context) (map[string]gateway.Evacuation, error)
	}
}

// Copies adds how the copies of the node's journal are.
func (m *Metrics) Copies(c Copies) {
	m.gauge("cigogne_copies_wanted", "On how many nodes an instance must lie before its sender is told.", func() float64 { return float64(c.Wanted()) })
	m.gauge("cigogne_copies_live", "Other nodes to which the journal is copied as it is written.", func() float64 {
		live := 0
		for _, t := range c.Keeper.Status().Targets {
			if t.Live {
				live++
			}
		}
		return float64(live)
	})
	m.gauge("cigogne_copies_waiting", "Instances that are durable here and have not all their copies.", func() float64 { return float64(c.Keeper.Status().Waiting) })
	m.gauge("cigogne_copies_lacking_bytes", "Bytes of the journal that have yet to come to other nodes until it lies on as many as it must: at 0 this node may be lost.", func() float64 {
		return float64(c.Keeper.Status().LackingBytes)
	})
	counter := func(name, help string, value func() float64) {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, value))
	}
	counter("cigogne_copies_filled_bytes_total", "Bytes that were sent to nodes which lacked them.", func() float64 { return float64(c.Keeper.Status().Filled) })
	counter("cigogne_copies_switches_total", "How often a node that took copies did so no more.", func() float64 { return float64(c.Keeper.Status().Switches) })
	m.gauge("cigogne_copies_held", "Other nodes' journals of which a copy lies here.", func() float64 { return float64(len(c.Holder.Journals())) })
	m.gauge("cigogne_retired_journals", "Retired journals that are not emptied here yet.", func() float64 {
		ctx, cancel := context.WithTimeout(context.Background(), countTimeout)
		defer cancel()
		left, err := c.Evacuator.Left(ctx)
		if err != nil {
			return math.NaN()
		}
		return float64(len(left))
	})
	m.failing("cigogne_copies_failing", "1 while too few nodes take copies for anything to be acknowledged.", func() error { return c.Keeper.Failing() })
}
