package ops

import (
	"slices"
	"testing"
	"time"
)

// TestGauge: rates are by the time between two samples, a pause is unknown, a
// clock that is set begins anew, and what is kept is bounded.
func TestGauge(t *testing.T) {
	at := time.Unix(1_000_000_000, 0)
	var c Counters
	g := NewGauge()
	pass := func(seconds, received, sent int64) {
		at = at.Add(time.Duration(seconds) * time.Second)
		c.Received, c.Sent = c.Received+received, c.Sent+sent
		g.Sample(at, c)
	}
	pass(0, 500, 0) // what came before the first sample is no rate
	pass(2, 2000, 40)
	pass(1, 300, 0) // no step is over
	pass(1, 300, 0)
	pass(6, 600, 6) // two steps were left out
	recent, _ := g.Flows()
	if want := []int64{1000, 300, unknown, unknown, 100}; !slices.Equal(recent.Received, want) || recent.End != at.Unix() || recent.Sent[0] != 20 {
		t.Fatalf("%+v, want %v until %d", recent, want, at.Unix())
	}
	for range (daySteps + 10) * dayStep / recentStep {
		pass(recentStep, 2000, 0)
	}
	recent, day := g.Flows()
	if len(recent.Received) != recentSteps || len(day.Received) != daySteps || recent.Received[0] != 1000 || day.Received[0] != 1000 || day.End%dayStep != 0 {
		t.Errorf("%d steps until %d, %d until %d", len(recent.Received), recent.End, len(day.Received), day.End)
	}
	pass(-5000, 10, 0)
	pass(2, 200, 0)
	if recent, _ = g.Flows(); !slices.Equal(recent.Received, []int64{100}) {
		t.Errorf("after the clock was set: %v", recent.Received)
	}
	c = Counters{}
	pass(2, 0, 0)
	if recent, _ = g.Flows(); recent.Received[1] != 0 {
		t.Errorf("counters that began anew: %v", recent.Received)
	}
}

// TestAligned: nodes whose steps ended at other times lie over each other.
func TestAligned(t *testing.T) {
	f := Flow{Step: 2, End: 106}
	for _, c := range []struct {
		begin, steps int64
		want         []int64
	}{
		{100, 4, []int64{7, 8, 9, unknown}},
		{102, 2, []int64{8, 9}},
		{200, 2, []int64{unknown, unknown}},
	} {
		if got := aligned(f, []int64{7, 8, 9}, c.begin, 2, c.steps); !slices.Equal(got, c.want) {
			t.Errorf("from %d: %v, want %v", c.begin, got, c.want)
		}
	}
}
