package ops

import (
	"math"
	"slices"
	"strings"
	"time"
)

// view is a picture in one language, as the templates show it.
type view struct {
	W         *words
	Assets    assets
	Day       bool     // the plots show a day, not minutes
	Languages []string // that one can switch to
	Picture
	Findings []Finding
}

// Level is the worst of what is not well, or "well".
func (v *view) Level() string {
	if len(v.Findings) == 0 {
		return "well"
	}
	return v.Findings[0].Level.String()
}

// Headline says in one sentence how all is. It is read out when it changes.
func (v *view) Headline() string {
	n := 0
	for _, f := range v.Findings {
		if f.Level > Notice {
			n++
		}
	}
	switch {
	case n == 1:
		return v.W.T("headline.one")
	case n > 1:
		return v.W.T("headline.more", "n", n)
	case len(v.Findings) > 0:
		return v.W.T("headline.notices")
	}
	return v.W.T("headline.well")
}

// Title is that of the window.
func (v *view) Title() string {
	if n := len(v.Findings); n > 0 && v.Findings[0].Level > Notice {
		return "(" + number(n) + ") Cigogne · " + v.W.T("title")
	}
	return "Cigogne · " + v.W.T("title")
}

// What says what a finding is.
func (v *view) What(f Finding) string {
	if key, name, ok := cutCheck(f.What); ok && !v.W.Has(f.What) {
		return v.W.T(key, "check", name, "node", f.Args["node"])
	}
	return v.W.fill(f.What, f.Args)
}

// cutCheck is the key for checks that the catalogue does not know.
func cutCheck(key string) (other, name string, ok bool) {
	const known = "finding.check."
	name, ok = strings.CutPrefix(key, known)
	return "finding.check", name, ok
}

// Do says what to do about a finding.
func (v *view) Do(f Finding) string {
	if text := f.Actions[v.W.Language]; text != "" {
		return text
	}
	if text := f.Actions["en"]; text != "" {
		return text
	}
	return v.W.fill(f.Action, f.Args)
}

// Ago says how long ago something was; "" for never.
func (v *view) Ago(t time.Time) string {
	if t.IsZero() {
		return v.W.T("never")
	}
	d := v.At.Sub(t)
	if d < time.Second {
		return v.W.T("now")
	}
	return v.W.T("ago", "span", v.W.Span(d))
}

// Waits says for how long something has waited.
func (v *view) Waits(t time.Time) string { return v.W.Span(v.At.Sub(t)) }

// In says in how long something will be.
func (v *view) In(t time.Time) string { return v.W.Span(t.Sub(v.At)) }

// Left says how long something is valid.
func (v *view) Left(until time.Time) string {
	if d := until.Sub(v.At); d > 0 {
		return v.W.T("left", "span", v.W.Span(d))
	}
	return v.W.T("ended")
}

// Series is the number of a node's colour.
func (*view) Series(i int) int { return i%8 + 1 }

// Stamp is a time for programs, Clock one for people: it does not change while
// the page is looked at.
func (v *view) Stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Clock is a time of day, with its date when it is not today.
func (v *view) Clock(t time.Time) string {
	local, now := t.Local(), v.At.Local()
	if local.YearDay() == now.YearDay() && local.Year() == now.Year() {
		return local.Format("15:04:05")
	}
	return local.Format("2006-01-02 15:04")
}

// Date is the day of a time.
func (v *view) Date(t time.Time) string { return t.Local().Format("2006-01-02") }

// List joins names.
func (v *view) List(names []string) string { return strings.Join(names, ", ") }

// Lag is how many entries a node is behind the one that is furthest.
func (v *view) Lag(s Seen) int64 {
	var furthest uint64
	for _, n := range v.Nodes {
		if n.Answers {
			furthest = max(furthest, n.Report.Standing.Applied)
		}
	}
	return int64(furthest - min(furthest, s.Report.Standing.Applied)) //nolint:gosec // a log is not that long
}

// Heard is how long ago a node heard of the leader.
func (v *view) Heard(s Seen) string {
	if h := s.Report.Standing.Heard; h >= 1 {
		return v.W.Span(time.Duration(h * float64(time.Second)))
	}
	return v.W.T("format.millisecond", "n", int64(s.Report.Standing.Heard*1000))
}

// Bar is a part of 100.
func (v *view) Bar(s Space) int64 {
	if s.Most <= 0 {
		return 0
	}
	return min(100, int64(math.Ceil(100*float64(s.Used)/float64(s.Most))))
}

// MoreConflicts tells whether there are more than those that are shown.
func (v *view) MoreConflicts() bool { return v.ConflictCount > int64(len(v.Conflicts)) }

// Clustered tells whether there are several nodes.
func (v *view) Clustered() bool { return len(v.Nodes) > 1 }

// Work is all that waits. The nodes at which nothing waits of a kind are one.
func (v *view) Work() (all []work) {
	for _, n := range v.Nodes {
		if !n.Answers {
			continue
		}
		for _, q := range n.Report.Queues {
			i := slices.IndexFunc(all, func(w work) bool { return w.Kind == q.Kind && w.Idle() && q.Idle() })
			if i < 0 {
				i = len(all)
				all = append(all, work{Queue: q})
			}
			all[i].Nodes = append(all[i].Nodes, n.Name)
		}
	}
	for _, q := range v.Queues {
		all = append(all, work{Queue: q})
	}
	kinds := []string{QueueIndexing, QueueCopies, QueueTakeover, QueuePacking, QueueArchiving, QueueCommitment, QueueManifests, QueuePublication, QueueDeletion}
	slices.SortStableFunc(all, func(a, b work) int { return slices.Index(kinds, a.Kind) - slices.Index(kinds, b.Kind) })
	return all
}

// work is a queue of some nodes, or of all.
type work struct {
	Nodes []string
	Queue
}

// Idle tells that nothing waits.
func (q Queue) Idle() bool { return q.Waiting <= 0 && q.Oldest.IsZero() && q.Failing == "" }

// ArchiveView is an archive as the nodes find it.
type ArchiveView struct {
	Name string
	On   []ArchiveOn
}

// ArchiveOn is an archive as one node finds it.
type ArchiveOn struct {
	Node string
	Archive
}

// AllArchives are those of all nodes that answer.
func (v *view) AllArchives() (all []ArchiveView) {
	for _, n := range v.Nodes {
		if !n.Answers {
			continue
		}
		for _, a := range n.Report.Archives {
			i := slices.IndexFunc(all, func(o ArchiveView) bool { return o.Name == a.Name })
			if i < 0 {
				i = len(all)
				all = append(all, ArchiveView{Name: a.Name})
			}
			all[i].On = append(all[i].On, ArchiveOn{n.Name, a})
		}
	}
	return all
}
