package ops

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Level says how much something matters.
type Level int

const (
	// Notice is what an operator should know of.
	Notice Level = iota
	// Warning is what will be trouble when nobody does anything.
	Warning
	// Trouble is what does not work now.
	Trouble
)

// String names the level in classes and catalogues.
func (l Level) String() string { return [...]string{"notice", "warning", "trouble"}[l] }

// Finding is something that is not well. Its texts are keys of the catalogues.
type Finding struct {
	Level Level
	// What is the key of the text that says what it is, with Args in it.
	What string
	Args map[string]string
	// Why is what a node said, in its own words; "" for nothing.
	Why string
	// Since is since when; zero when that is not known.
	Since time.Time
	// SeenBy are the nodes that find so.
	SeenBy []string
	// Action is the key of what to do, unless Actions has it by language.
	Action  string
	Actions map[string]string
}

const (
	// fullSoon is when a disk that fills is worth a warning, unless more than
	// fullFar in a hundred is free; it is trouble when less than diskNow or
	// journalNow is.
	fullSoon   = 24 * time.Hour
	fullFar    = 40
	diskNow    = 5
	journalNow = 20
	// indexLate is for how long what is durable may wait for the index.
	indexLate = time.Minute
	// expiresSoon is when a certificate is.
	expiresSoon = 21 * 24 * time.Hour
	// stuckFor is for how long the shared record may not take a manifest.
	stuckFor = time.Hour
	// silentFor is for how long nothing may come from a site that used to send.
	silentFor = 4 * 24 * time.Hour
)

// Findings are what is not well in a picture, the worst first.
func (p *Picture) Findings() []Finding {
	var all []Finding
	all = append(all, p.unreached()...)
	all = append(all, p.checks()...)
	all = append(all, p.archives()...)
	all = append(all, p.spaces()...)
	all = append(all, p.late()...)
	all = append(all, p.certificates()...)
	if n := len(p.Overdue); n > 0 {
		f := Finding{Level: Warning, What: "finding.overdue", Args: map[string]string{"n": number(n)}, Action: "action.overdue", SeenBy: []string{p.By}}
		for _, s := range p.Overdue {
			if f.Since.IsZero() || s.Received.Before(f.Since) {
				f.Since = s.Received
			}
		}
		all = append(all, f)
	}
	if p.ConflictCount > 0 {
		all = append(all, Finding{Level: Notice, What: "finding.conflicts", Args: map[string]string{"n": number(p.ConflictCount)}, Action: "action.conflicts", SeenBy: []string{p.By}})
	}
	all = append(all, p.silent()...)
	all = append(all, p.publication()...)
	if p.RegionFailing != nil {
		all = append(all, Finding{Level: Warning, What: "finding.index", Why: p.RegionFailing.Error(), Action: "action.index", SeenBy: []string{p.By}})
	}
	slices.SortStableFunc(all, func(a, b Finding) int { return cmp.Compare(b.Level, a.Level) })
	return all
}

// unreached are the nodes that do not answer, or not to all others.
func (p *Picture) unreached() (all []Finding) {
	for _, n := range p.Nodes {
		f := Finding{Level: Trouble, What: "finding.unreached", Args: map[string]string{"node": n.Name}, Action: "action.unreached", Why: n.Why}
		reached := 0
		for _, by := range n.By {
			if by.Reached {
				reached++
				continue
			}
			f.SeenBy, f.Why = append(f.SeenBy, by.Node), cmp.Or(f.Why, by.Why)
			if f.Since.IsZero() || by.Since.Before(f.Since) {
				f.Since = by.Since
			}
		}
		switch {
		case n.Answers && len(f.SeenBy) == 0:
			if n.Report.Standing.Draining {
				all = append(all, Finding{Level: Notice, What: "finding.draining", Args: f.Args, Action: "action.draining", SeenBy: []string{n.Name}})
			}
			continue
		case n.Answers || reached > 0: // somebody reaches it
			f.Level, f.What, f.Action = Warning, "finding.cut", "action.cut"
		}
		if len(f.SeenBy) == 0 {
			f.SeenBy = []string{p.By}
		}
		all = append(all, f)
	}
	return all
}

// checks are the checks that fail; what several nodes find alike is one.
func (p *Picture) checks() (all []Finding) {
	at := map[string]int{}
	for _, n := range p.Nodes {
		if !n.Answers {
			continue
		}
		for _, c := range n.Report.Checks {
			if c.Why == "" || c.Name == "cluster" && n.Report.Standing.Draining {
				continue
			}
			key := c.Name + "\n" + c.Action["en"]
			i, ok := at[key]
			if !ok {
				i = len(all)
				at[key] = i
				all = append(all, Finding{Level: Trouble, What: "finding.check." + c.Name, Why: c.Why, Since: c.Since, Actions: c.Action})
			}
			f := &all[i]
			f.SeenBy = append(f.SeenBy, n.Name)
			f.Args = map[string]string{"node": strings.Join(f.SeenBy, ", ")}
			if c.Since.Before(f.Since) {
				f.Since = c.Since
			}
		}
	}
	return all
}

// archives are those that do not answer, while the others are enough.
func (p *Picture) archives() (all []Finding) {
	at := map[string]int{}
	for _, n := range p.Nodes {
		if !n.Answers || failing(n.Report.Checks, "archive") {
			continue
		}
		for _, a := range n.Report.Archives {
			if a.Reached {
				continue
			}
			i, ok := at[a.Name]
			if !ok {
				i = len(all)
				at[a.Name] = i
				all = append(all, Finding{Level: Warning, What: "finding.archive", Args: map[string]string{"archive": a.Name}, Why: a.Why, Action: "action.archive"})
			}
			all[i].SeenBy = append(all[i].SeenBy, n.Name)
		}
	}
	return all
}

func failing(checks []Check, name string) bool {
	return slices.ContainsFunc(checks, func(c Check) bool { return c.Name == name && c.Why != "" })
}

// spaces are the disks and journals that are full, or soon.
func (p *Picture) spaces() (all []Finding) {
	for _, n := range p.Nodes {
		if !n.Answers {
			continue
		}
		for _, s := range []struct {
			what string
			now  float64
			Space
		}{{"disk", diskNow, n.Report.Disk}, {"journal", journalNow, n.Report.Journal}} {
			f := Finding{Level: Warning, SeenBy: []string{n.Name}, Action: "action." + s.what, Args: map[string]string{"node": n.Name}}
			switch {
			case s.Most > 0 && s.free() < s.now:
				f.What, f.Level = "finding."+s.what+".full", Trouble
			case !s.Full.IsZero() && s.Full.Sub(p.At) < fullSoon && s.free() < fullFar:
				f.What = "finding." + s.what + ".filling"
			default:
				continue
			}
			all = together(all, f, "node")
		}
	}
	return all
}

// late are the nodes whose index does not keep up, where no check says so.
func (p *Picture) late() (all []Finding) {
	for _, n := range p.Nodes {
		if !n.Answers || failing(n.Report.Checks, "index") {
			continue
		}
		for _, q := range n.Report.Queues {
			if q.Kind == QueueIndexing && !q.Oldest.IsZero() && p.At.Sub(q.Oldest) > indexLate {
				all = together(all, Finding{
					Level: Warning, What: "finding.late", Args: map[string]string{"node": n.Name}, Action: "action.late", Since: q.Oldest, SeenBy: []string{n.Name},
				}, "node")
			}
		}
	}
	return all
}

// free is how much of it is free, in a hundred.
func (s Space) free() float64 {
	if s.Most <= 0 {
		return 100
	}
	return 100 * float64(s.Most-s.Used) / float64(s.Most)
}

// publication is what the shared record does not take.
func (p *Picture) publication() (all []Finding) {
	for _, q := range p.Queues {
		if q.Kind == QueuePublication && q.Failing != "" && p.At.Sub(q.Oldest) > stuckFor {
			all = append(all, Finding{Level: Warning, What: "finding.stuck", Action: "action.stuck", Since: q.Oldest, SeenBy: []string{p.By}})
		}
	}
	if p.Refused > 0 {
		all = append(all, Finding{Level: Warning, What: "finding.refused", Args: map[string]string{"n": number(p.Refused)}, Action: "action.refused", SeenBy: []string{p.By}})
	}
	return all
}

// silent are the sites from which nothing came for long.
func (p *Picture) silent() (all []Finding) {
	for _, s := range p.Senders() {
		if s.Known && !s.Last.IsZero() && p.At.Sub(s.Last) > silentFor {
			all = together(all, Finding{Level: Notice, What: "finding.silent", Args: map[string]string{"site": s.Name}, Action: "action.silent", SeenBy: []string{p.By}}, "site")
		}
	}
	return all
}

// together adds a finding, to the one of the same kind if there is one: its
// argument names both then.
func together(all []Finding, f Finding, arg string) []Finding {
	i := slices.IndexFunc(all, func(o Finding) bool { return o.What == f.What })
	if i < 0 {
		return append(all, f)
	}
	all[i].Args[arg] += ", " + f.Args[arg]
	for _, by := range f.SeenBy {
		if !slices.Contains(all[i].SeenBy, by) {
			all[i].SeenBy = append(all[i].SeenBy, by)
		}
	}
	return all
}

// certificates are those that end, or have ended.
func (p *Picture) certificates() (all []Finding) {
	for _, c := range p.Certificates() {
		left := c.Expires.Sub(p.At)
		f := Finding{Level: Warning, What: "finding.certificate", Action: "action.certificate", SeenBy: c.On, Args: map[string]string{"name": c.Name}}
		if left > expiresSoon {
			continue
		}
		if left <= 0 {
			f.Level, f.What = Trouble, "finding.certificate.ended"
		}
		all = together(all, f, "name")
	}
	return all
}

// Held is a certificate and the nodes that have it.
type Held struct {
	Certificate
	On []string
}

// Certificates are those of all nodes, that which ends first before others.
func (p *Picture) Certificates() (all []Held) {
	at := map[Certificate]int{}
	for _, n := range p.Nodes {
		if n.Report == nil {
			continue
		}
		for _, c := range n.Report.Certificates {
			c.Expires = c.Expires.UTC()
			i, ok := at[c]
			if !ok {
				i = len(all)
				at[c] = i
				all = append(all, Held{Certificate: c})
			}
			all[i].On = append(all[i].On, n.Name)
		}
	}
	slices.SortStableFunc(all, func(a, b Held) int { return a.Expires.Compare(b.Expires) })
	return all
}

// Senders are those of all nodes: what came last at any of them, and what came
// at all of them. Those of the configuration come first, and of them those that
// were heard of last.
func (p *Picture) Senders() (all []Sender) {
	at := map[string]int{}
	for _, n := range p.Nodes {
		if n.Report == nil {
			continue
		}
		for _, s := range n.Report.Senders {
			i, ok := at[s.Name]
			if !ok {
				at[s.Name] = len(all)
				all = append(all, s)
				continue
			}
			one := &all[i]
			one.Instances += s.Instances
			one.Bytes += s.Bytes
			if s.Last.After(one.Last) {
				one.Last = s.Last
			}
			if s.Known && !one.Known {
				one.Known, one.FINESS, one.By, one.Credentials = true, s.FINESS, s.By, s.Credentials
			}
		}
	}
	slices.SortStableFunc(all, func(a, b Sender) int {
		if a.Known != b.Known {
			return map[bool]int{true: -1, false: 1}[a.Known]
		}
		return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.Name, b.Name))
	})
	return all
}
