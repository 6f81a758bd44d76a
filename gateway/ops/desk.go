package ops

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// Self is this node, as the page asks it.
type Self interface {
	// Report is how the node is now. It takes no time worth mentioning: what
	// must be waited for is in Examine.
	Report() Report
	// Examine fills in what takes time: Checks, Archives and Queues that Report
	// left out.
	Examine(ctx context.Context, r *Report)
	// Region is what the index says of all nodes together.
	Region(ctx context.Context) (Region, error)
	// Counters are what the node has counted until now.
	Counters() Counters
}

// Peers are the other nodes.
type Peers interface {
	// Names are their ids.
	Names() []string
	// Reach returns nil when the node answers.
	Reach(ctx context.Context, node string) error
	// Report asks a node for its report.
	Report(ctx context.Context, node string) (Report, error)
}

const (
	// lookEvery is how often a node looks whether it reaches the others, and
	// samples its own counters; lookTime is how long it waits for an answer.
	lookEvery = time.Second
	lookTime  = time.Second
	// examineEvery is how often a node is examined while somebody looks at the
	// page, which costs archives a request, examineAgain while a check fails,
	// and examineIdle while nobody looks; examineTime bounds it.
	examineEvery = 10 * time.Second
	examineAgain = 2 * time.Second
	examineIdle  = time.Minute
	examineTime  = 10 * time.Second
	regionEvery  = 5 * time.Second
	watchedFor   = 15 * time.Second
	// fresh is for how long a picture serves everybody who asks.
	fresh = 900 * time.Millisecond
)

// Desk gathers what the page shows: of this node all the time, of the others
// while somebody looks. Run must be called.
type Desk struct {
	self  Self
	peers Peers
	gauge *Gauge

	mu       sync.Mutex
	sights   map[string]*sighted
	examined Report // what Examine fills in
	region   Region
	failing  error     // why region is old
	watched  time.Time // when somebody looked last
	// wakeExamine and wakeRegion, of capacity 1, tell that somebody begins to
	// look.
	wakeExamine, wakeRegion chan struct{}

	gathering sync.Mutex // held while the others are asked
	picture   Picture
	known     map[string]Report // the last of each node
}

// sighted is how another node was reached.
type sighted struct {
	Sight
	failures int
}

// NewDesk returns a Desk; peers is nil for a node that stands alone.
func NewDesk(self Self, peers Peers) *Desk {
	return &Desk{
		self: self, peers: peers, gauge: NewGauge(), sights: map[string]*sighted{},
		wakeExamine: make(chan struct{}, 1), wakeRegion: make(chan struct{}, 1), known: map[string]Report{},
	}
}

// Run samples what passes here and looks whether the other nodes are reached,
// once a second, until ctx ends, whose error it returns.
func (d *Desk) Run(ctx context.Context) error {
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { d.examining(ctx) })
	work.Go(func() { d.overlooking(ctx) })
	beat := time.NewTicker(lookEvery)
	defer beat.Stop()
	for {
		d.gauge.Sample(time.Now(), d.self.Counters())
		d.look(ctx)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-beat.C:
		}
	}
}

// examining examines this node until ctx ends.
func (d *Desk) examining(ctx context.Context) {
	for ctx.Err() == nil {
		d.examine(ctx)
		d.rest(ctx, d.wakeExamine, examineEvery)
	}
}

// overlooking asks the index of all nodes until ctx ends.
func (d *Desk) overlooking(ctx context.Context) {
	for ctx.Err() == nil {
		d.overlook(ctx)
		d.rest(ctx, d.wakeRegion, regionEvery)
	}
}

// rest waits until it is time again, or somebody begins to look.
func (d *Desk) rest(ctx context.Context, wake <-chan struct{}, every time.Duration) {
	d.mu.Lock()
	switch failing := slices.ContainsFunc(d.examined.Checks, func(c Check) bool { return c.Why != "" }); {
	case time.Since(d.watched) >= watchedFor:
		every = examineIdle
	case failing:
		every = min(every, examineAgain)
	}
	d.mu.Unlock()
	t := time.NewTimer(every)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-wake:
	}
}

// watch notes that somebody looks; the first is not shown what is a minute old
// for long.
func (d *Desk) watch() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Since(d.watched) >= watchedFor {
		for _, wake := range []chan struct{}{d.wakeExamine, d.wakeRegion} {
			select {
			case wake <- struct{}{}:
			default: // it is told already
			}
		}
	}
	d.watched = time.Now()
}

func (d *Desk) examine(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, examineTime)
	defer cancel()
	var r Report
	d.self.Examine(ctx, &r)
	if errors.Is(ctx.Err(), context.Canceled) {
		return // the node stops
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.examined = r
}

func (d *Desk) overlook(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, examineTime)
	defer cancel()
	region, err := d.self.Region(ctx)
	if errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failing = err; err == nil {
		d.region = region
	}
}

// look looks once whether the others are reached.
func (d *Desk) look(ctx context.Context) {
	if d.peers == nil {
		return
	}
	names := d.peers.Names()
	errs := make([]error, len(names))
	var asked sync.WaitGroup
	bounded, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	for i, name := range names {
		asked.Go(func() { errs[i] = d.peers.Reach(bounded, name) })
	}
	asked.Wait()
	if ctx.Err() != nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	for i, name := range names {
		s := d.sights[name]
		if s == nil {
			s = &sighted{Sight: Sight{Node: name, Reached: true, Since: now}}
			d.sights[name] = s
		}
		s.note(errs[i], now)
	}
	for name := range d.sights {
		if !slices.Contains(names, name) { // it is no member any more
			delete(d.sights, name)
		}
	}
}

// note takes what a look came to. One answer that is late is nothing yet: the
// machine may be busy.
func (s *sighted) note(err error, now time.Time) {
	if err == nil {
		if !s.Reached {
			s.Since = now
		}
		s.Reached, s.Why, s.failures = true, "", 0
		return
	}
	s.failures++
	if s.failures == 1 && errors.Is(err, context.DeadlineExceeded) {
		return
	}
	if s.Reached {
		s.Since = now
	}
	s.Reached, s.Why = false, why(err)
}

// why is why a node is not reached, in words for an operator.
func why(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer within " + lookTime.String()
	}
	return err.Error()
}

// Report is what this node says of itself.
func (d *Desk) Report() Report {
	d.watch()
	return d.report()
}

func (d *Desk) report() Report {
	r := d.self.Report()
	r.At = time.Now()
	r.Recent, r.Day = d.gauge.Flows()
	d.mu.Lock()
	defer d.mu.Unlock()
	r.Checks, r.Archives = d.examined.Checks, d.examined.Archives
	r.Queues = slices.Concat(r.Queues, d.examined.Queues)
	for _, s := range d.sights {
		r.Sees = append(r.Sees, s.Sight)
	}
	slices.SortFunc(r.Sees, func(a, b Sight) int { return cmp.Compare(a.Node, b.Node) })
	return r
}

// Picture is how all is, as one node found it.
type Picture struct {
	At time.Time
	// By is the node that shows it.
	By    string
	Nodes []Seen // in the order of their names
	Region
	// RegionFailing is why Region is old or empty, or nil.
	RegionFailing error
}

// Seen is a node in a picture.
type Seen struct {
	Name string
	// Answers tells that the node answered, and Why why not. Report is then
	// the last that is known of it, or nil.
	Answers bool
	Why     string
	Report  *Report
	// By is who reaches it, in the order of their names.
	By []SeenBy
}

// SeenBy is how a node is reached from another.
type SeenBy struct {
	Node string // the one that looks
	Sight
}

// Picture asks all nodes, unless that was done just now.
func (d *Desk) Picture(ctx context.Context) Picture {
	d.watch()
	d.gathering.Lock()
	defer d.gathering.Unlock()
	if time.Since(d.picture.At) < fresh {
		return d.picture
	}
	// It is for all who wait, not only for who came first.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTime)
	defer cancel()
	d.picture = d.gather(ctx)
	return d.picture
}

// gather asks all nodes; gathering is held.
func (d *Desk) gather(ctx context.Context) Picture {
	own := d.report()
	p := Picture{By: own.Node, Nodes: []Seen{{Name: own.Node, Answers: true, Report: &own}}}
	if d.peers != nil {
		p.Nodes = append(p.Nodes, d.ask(ctx)...)
	}
	slices.SortFunc(p.Nodes, func(a, b Seen) int { return cmp.Compare(a.Name, b.Name) })
	for i := range p.Nodes {
		n := &p.Nodes[i]
		for _, other := range p.Nodes {
			if !other.Answers {
				continue
			}
			for _, s := range other.Report.Sees {
				if s.Node == n.Name {
					n.By = append(n.By, SeenBy{other.Name, s})
				}
			}
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	p.Region, p.RegionFailing = d.region, d.failing
	p.At = time.Now()
	return p
}

func (d *Desk) ask(ctx context.Context) []Seen {
	names := d.peers.Names()
	all := make([]Seen, len(names))
	var asked sync.WaitGroup
	for i, name := range names {
		asked.Go(func() {
			all[i].Name = name
			r, err := d.peers.Report(ctx, name)
			if err != nil {
				all[i].Why = why(err)
				return
			}
			r.Node = name // whatever it calls itself
			all[i].Answers, all[i].Report = true, &r
		})
	}
	asked.Wait()
	for i, name := range names {
		if all[i].Answers {
			d.known[name] = *all[i].Report
		} else if r, ok := d.known[name]; ok {
			all[i].Report = &r
		}
	}
	for name := range d.known {
		if !slices.Contains(names, name) {
			delete(d.known, name)
		}
	}
	return all
}
