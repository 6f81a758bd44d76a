package ops

import (
	"context"
	"errors"
	"sync"
	"time"
)

// region is a cluster that is made up: n1 shows the page.
type region struct {
	mu      sync.Mutex
	reports map[string]Report
	down    map[string]error
	Region
	asked int
}

// Names implements Peers.
func (r *region) Names() []string { return []string{"n2", "n3"} }

// Reach implements Peers.
func (r *region) Reach(_ context.Context, node string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.down[node]
}

// Report implements Peers.
func (r *region) Report(_ context.Context, node string) (Report, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	return r.reports[node], r.down[node]
}

func (r *region) kill(node string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down[node] = err
}

// self is n1 of it.
type self struct{ *region }

// Report implements Self.
func (s self) Report() Report {
	r := s.reports["n1"]
	r.Sees = nil // the desk knows
	return r
}

// Examine implements Self.
func (s self) Examine(_ context.Context, r *Report) {
	r.Checks, r.Archives = s.reports["n1"].Checks, s.reports["n1"].Archives
}

// Region implements Self.
func (s self) Region(context.Context) (Region, error) { return s.region.Region, nil }

// Counters implements Self.
func (s self) Counters() Counters { return Counters{} }

// calm is a cluster in which all is well.
func calm() *region {
	now := time.Now()
	r := &region{reports: map[string]Report{}, down: map[string]error{}, Region: Region{OverdueAfter: 15 * time.Minute}}
	for i, name := range []string{"n1", "n2", "n3"} {
		one := Report{
			Node: name, Version: "v1", Started: now.Add(-time.Hour), Standing: Standing{State: "follower", Leader: "n1", Committed: 10, Applied: 10, Heard: 0.02},
			Checks: []Check{{Name: "journal", Since: now}}, Journal: Space{Used: 1500, Most: 100_000}, Disk: Space{Used: 40e9, Most: 100e9},
			Queues:   []Queue{{Kind: QueueIndexing}, {Kind: QueueCopies}},
			Archives: []Archive{{Name: "s3://bucket", Reached: true}, {Name: "dir:///backup", Reached: true}},
			Senders: []Sender{
				{Name: "Clinique <A>", Known: true, FINESS: "670000025", By: []string{"PACS_A"}, Credentials: 2, Last: now.Add(-time.Duration(i+1) * time.Minute), Instances: 1000, Bytes: 1 << 20},
				{Name: "Silent", Known: true},
				{Name: "Lost", Known: true, Last: now.Add(-time.Hour)},
			},
			Certificates: []Certificate{{"node", name, now.Add(400 * 24 * time.Hour)}, {"authority", "CA", now.Add(4000 * 24 * time.Hour)}},
			Recent:       Flow{Step: recentStep, End: now.Unix() / 2 * 2, Received: []int64{1, unknown, 5_000_000}, Sent: []int64{0, 0, 7}},
		}
		for _, other := range []string{"n1", "n2", "n3"} {
			if other != name {
				one.Sees = append(one.Sees, Sight{Node: other, Reached: true, Since: now})
			}
		}
		r.reports[name] = one
	}
	first := r.reports["n1"]
	first.Standing.State, first.Standing.Heard = "leader", 0
	r.reports["n1"] = first
	return r
}

// grave is one in which everything is wrong that can be at once.
func grave() *region {
	r := calm()
	now := time.Now()
	r.down["n3"] = errors.New("connection refused")
	for _, name := range []string{"n1", "n2"} {
		one := r.reports[name]
		one.Checks = append(one.Checks, Check{Name: "copies", Why: "too few <nodes>", Since: now.Add(-time.Minute), Action: map[string]string{"en": "Bring them back.", "fr": "Ramenez-les.", "de": "Holen Sie sie zurück."}},
			Check{Name: "unheard", Why: "of", Since: now})
		one.Archives[1] = Archive{Name: "dir:///backup", Why: "no such folder", Failures: 3, Resting: now.Add(time.Minute)}
		one.Queues = []Queue{{Kind: QueueIndexing, Waiting: -1, Oldest: now.Add(-time.Hour)}, {Kind: QueueCopies, Waiting: 12345, Oldest: now.Add(-time.Minute), Failing: "refused", Retry: now}}
		one.Certificates[0].Expires = now.Add(-time.Hour)
		one.Certificates[1].Expires = now.Add(10 * 24 * time.Hour)
		one.Disk = Space{Used: 99_500_000_000, Most: 100e9, Full: now.Add(time.Hour)}
		one.Journal = Space{Used: 50_000, Most: 100_000, Full: now.Add(5 * time.Hour)}
		one.Standing.Draining = name == "n2"
		one.Senders[2].Last = now.Add(-5 * 24 * time.Hour)
		one.Sees = []Sight{{Node: "n3", Why: "connection refused", Since: now}}
		r.reports[name] = one
	}
	r.Region = Region{
		Queues:       []Queue{{Kind: QueuePacking, Waiting: 3, Bytes: 5e9, Oldest: now.Add(-time.Hour)}, {Kind: QueueArchiving}, {Kind: QueueTakeover, Waiting: 1}, {Kind: QueueDeletion, Waiting: 1}, {Kind: QueueManifests, Waiting: 8}, {Kind: QueuePublication, Waiting: 9, Failing: "9 not taken", Oldest: now.Add(-2 * time.Hour)}},
		OverdueAfter: 15 * time.Minute, Overdue: []Study{{StudyInstanceUID: "1.2.3", Instances: 7, Received: now.Add(-time.Hour)}, {StudyInstanceUID: "1.2.4", Planned: true, Received: now.Add(-3 * 24 * time.Hour)}},
		Conflicts: []Conflict{{"1.2.3.4", "1.2.3", "digest", "PACS_A", now}, {"1.2.3.5", "1.2.3", "patient", "PACS_B", now}}, ConflictCount: 21, Deleted: 4, Holds: 17, Refused: 3,
	}
	return r
}
