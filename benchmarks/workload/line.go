package workload

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"time"

	"github.com/esante-alsace/cigogne/benchmarks"
	"github.com/esante-alsace/cigogne/benchmarks/line"
	"github.com/esante-alsace/cigogne/benchmarks/result"
	"github.com/esante-alsace/cigogne/benchmarks/subject"
)

// lineRate is that of the regional links, in bits per second.
const lineRate = 1_000_000_000

// lineTarget is how long a round should take: twice what a study of 263 MB takes
// at the line's rate, where connections are slow to begin.
func lineTarget(rtt time.Duration) time.Duration {
	if rtt < longLine {
		return 0
	}
	return 4 * time.Second
}

// lineRounds are few: the line is alike in each, and DCMTK's tools wait for it.
const lineRounds = 2

// longLine is the round trip from which on a sender waits for it and for little
// else.
const longLine = 20 * time.Millisecond

// remote is the far end of the line that is open now.
type remote struct{ line *line.Line }

func (r *remote) open(rtt time.Duration) func(context.Context) (func(), error) {
	return func(ctx context.Context) (func(), error) {
		l, err := line.Open(ctx, line.Options{RTT: rtt, Rate: lineRate})
		if err != nil {
			return nil, err
		}
		r.line = l
		return l.Close, nil
	}
}

// DialContext implements dialer.
func (r *remote) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return r.line.DialContext(ctx, network, address)
}

func (r *remote) move(cmd *exec.Cmd) { r.line.Command(cmd) }

// lines are a study in and out over 1 Gbit/s, near and far.
func (s Settings) lines() []benchmarks.Workload {
	var all []benchmarks.Workload
	for _, ms := range []int{1, 20, 80} {
		rtt := time.Duration(ms) * time.Millisecond
		all = append(all, s.lineIn(ms, rtt), s.lineOut(ms, rtt))
	}
	return all
}

// onLine has a subject listen at the near end, under a name that says how it
// is driven.
func onLine(s subject.Subject, how string, d driver) benchmarks.Case {
	return benchmarks.Case{Subject: named{s, s.Name() + " " + how}, Drive: shared(d), Host: line.Near}
}

// whole has a case move the whole study in each round: how connections begin
// is a part of what is compared.
func whole(c benchmarks.Case) benchmarks.Case {
	c.Whole = true
	return c
}

// shared adds the share of the line's rate that was reached.
func shared(d driver) driver {
	return func(ctx context.Context, r benchmarks.Round) (benchmarks.Work, error) {
		w, err := d(ctx, r)
		if err == nil {
			w.More = map[result.Measure]float64{result.LineShare: 100 * 8 * float64(w.Bytes) / w.Elapsed.Seconds() / lineRate}
		}
		return w, err
	}
}

func tcp(streams int, far *remote, back bool) benchmarks.Case {
	c := subject.Client{Title: "tcp", Safe: "none: TCP alone, with this kernel's buffers"}
	return onLine(c, fmt.Sprintf("%d streams", streams), raw(streams, line.Near, far, back))
}

// roundTrips is the limit of a sender that waits so many round trips for each
// instance: computed, not measured.
func roundTrips(n int, rtt time.Duration) benchmarks.Case {
	c := subject.Client{Title: "computed", Safe: "none: not measured"}
	return onLine(c, fmt.Sprintf("%d round trip(s) an instance", n), func(_ context.Context, r benchmarks.Round) (benchmarks.Work, error) {
		bytes, units := r.Series.Bytes(), len(r.Series.Instances)
		transfer := time.Duration(float64(bytes) * 8 / lineRate * float64(time.Second))
		return benchmarks.Work{Bytes: bytes, Units: units, Elapsed: transfer + time.Duration(n*units)*rtt}, nil
	})
}

func (s Settings) lineIn(ms int, rtt time.Duration) benchmarks.Workload {
	far := &remote{}
	stock := func(n int) driver { return storescuFrom(n, false, far.move) }
	ours, orthanc := s.ours(), subject.Orthanc{}
	return benchmarks.Workload{
		Name: fmt.Sprintf("line-%d-in", ms), Title: fmt.Sprintf("a CT study in over 1 Gbit/s with a round trip of %d ms", ms),
		Primary: result.Throughput, Unit: result.Instances, Amount: s.Instances, Least: 12, Material: ct, Open: far.open(rtt), LeastTarget: lineTarget(rtt),
		Rounds: lineRounds,
		Cases: []benchmarks.Case{
			whole(onLine(ours, "push", s.push(8, far.move))),
			whole(onLine(ours, "window 16", ourSCUOver(1, 16, far))),
			whole(onLine(ours, "window 16 x4", ourSCUOver(4, 16, far))),
			onLine(ours, "storescu x1", stock(1)),
			onLine(ours, "storescu x4", stock(4)),
			onLine(ours, "stow x1", stowOver(1, 20, far)),
			onLine(ours, "stow x4", stowOver(4, 20, far)),
			onLine(s.bare(true), "storescu x1", stock(1)),
			onLine(orthanc, "storescu x1", stock(1)),
			onLine(orthanc, "storescu x4", stock(4)),
			onLine(orthanc, "stow x1", stowOver(1, 20, far)),
			onLine(orthanc, "stow x4", stowOver(4, 20, far)),
			tcp(1, far, false), whole(tcp(4, far, false)), whole(tcp(8, far, false)),
			roundTrips(1, rtt), roundTrips(2, rtt),
		},
	}
}

func (s Settings) lineOut(ms int, rtt time.Duration) benchmarks.Workload {
	far := &remote{}
	h, few := s.series, s.few
	wado := func(clients int) driver { return getsOver(clients, web, h.instanceAsk, far) }
	study := getsOver(1, web, h.studyAsk, far)
	ours, orthanc := s.ours(), subject.Orthanc{}
	ours.Mover, orthanc.Mover = moverAt, moverAt
	type holding struct {
		what *held
		by   subject.Subject
		far  *remote
	}
	of := func(h *held, s subject.Subject, how string, d driver) benchmarks.Case {
		c := onLine(s, how, d)
		c.Fill, c.Shared = h.filled, holding{h, s, far}
		return c
	}
	file := onLine(subject.Nginx{}, "study x1", once(getsOver(1, files, h.studyFile, far)))
	file.Fill = h.asFiles
	return benchmarks.Workload{
		Name: fmt.Sprintf("line-%d-out", ms), Title: fmt.Sprintf("a CT study out over 1 Gbit/s with a round trip of %d ms; movescu and getscu: %d instances of it", ms, few.n),
		Primary: result.Throughput, Unit: result.Requests, Amount: s.Instances, Open: far.open(rtt), LeastTarget: lineTarget(rtt),
		Rounds: lineRounds,
		Cases: []benchmarks.Case{
			of(h, s.ours(), "pull", once(s.pull(h, 8, "", false, far.move))),
			of(h, s.ours(), "study x1", once(study)),
			of(h, s.ours(), "instances x4", wado(4)),
			of(h, s.ours(), "instances x16", wado(16)),
			of(h, subject.Orthanc{}, "study x1", once(study)),
			of(h, subject.Orthanc{}, "instances x4", wado(4)),
			of(few, ours, "movescu", once(movescu(few, far.move))),
			of(few, ours, "getscu", once(getscu(few, far.move))),
			of(few, orthanc, "movescu", once(movescu(few, far.move))),
			of(few, orthanc, "getscu", once(getscu(few, far.move))),
			file, tcpOut(1, h, far), whole(tcpOut(4, h, far)), whole(tcpOut(8, h, far)),
		},
	}
}

// once drives a single unit, whatever a round's amount is.
func once(d driver) driver {
	return func(ctx context.Context, r benchmarks.Round) (benchmarks.Work, error) {
		r.Amount = 1
		return d(ctx, r)
	}
}

// tcpOut streams the series that subjects hold towards the far end.
func tcpOut(streams int, h *held, far *remote) benchmarks.Case {
	c := tcp(streams, far, true)
	d := c.Drive
	c.Drive = func(ctx context.Context, r benchmarks.Round) (benchmarks.Work, error) {
		s, err := h.get()
		if err != nil {
			return benchmarks.Work{}, err
		}
		r.Series = s.Part(0, max(streams, min(r.Amount, len(s.Instances))))
		return d(ctx, r)
	}
	return c
}
