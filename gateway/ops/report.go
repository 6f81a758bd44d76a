package ops

import "time"

// Report is what a node says of itself, to whichever node shows the page. It
// holds no patient data.
type Report struct {
	Node    string    `json:"node"`
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	At      time.Time `json:"at"`

	Standing Standing `json:"standing"`
	// Sees is how this node reaches the others.
	Sees         []Sight       `json:"sees,omitempty"`
	Checks       []Check       `json:"checks,omitempty"`
	Journal      Space         `json:"journal"`
	Disk         Space         `json:"disk"`
	Queues       []Queue       `json:"queues,omitempty"`
	Archives     []Archive     `json:"archives,omitempty"`
	Senders      []Sender      `json:"senders,omitempty"`
	Certificates []Certificate `json:"certificates,omitempty"`
	// Recent and Day are what passed through the node in the last minutes and
	// in the last day.
	Recent Flow `json:"recent"`
	Day    Flow `json:"day"`
}

// Standing is a node's place in its cluster.
type Standing struct {
	// State is "leader", "follower" or "candidate", or "alone".
	State     string `json:"state"`
	Leader    string `json:"leader,omitempty"`
	Term      uint64 `json:"term,omitempty"`
	Committed uint64 `json:"committed,omitempty"`
	Applied   uint64 `json:"applied,omitempty"`
	// Heard is how long ago the node heard of the leader, in seconds; 0 at the
	// leader.
	Heard        float64 `json:"heard,omitempty"`
	Draining     bool    `json:"draining,omitempty"`
	Associations int     `json:"associations"`
}

// Sight is whether one node reaches another.
type Sight struct {
	Node    string `json:"node"`
	Reached bool   `json:"reached"`
	Why     string `json:"why,omitempty"`
	// Since is since when that is so.
	Since time.Time `json:"since"`
}

// Check is one thing that was checked.
type Check struct {
	Name string `json:"name"`
	// Why is why it is not well, or "".
	Why   string    `json:"why,omitempty"`
	Since time.Time `json:"since"`
	// Action is what to do about it, by language.
	Action map[string]string `json:"action,omitempty"`
}

// Space is how full something is.
type Space struct {
	Used int64 `json:"used"`
	// Most is how much it may hold; 0 for no bound of its own.
	Most int64 `json:"most,omitempty"`
	// Full is when it will be full if it goes on as it did; zero when it does
	// not fill, or when that is not known.
	Full time.Time `json:"full,omitzero"`
}

// The kinds of work that waits.
const (
	QueueIndexing    = "indexing"
	QueueCopies      = "copies"
	QueueTakeover    = "takeover"
	QueuePacking     = "packing"
	QueueArchiving   = "archiving"
	QueueDeletion    = "deletion"
	QueueManifests   = "manifests"
	QueuePublication = "publication"
	QueueCommitment  = "commitment"
)

// Queue is work that waits.
type Queue struct {
	Kind string `json:"kind"`
	// Waiting counts what waits, -1 when that is not known; Bytes is its size,
	// or 0.
	Waiting int64 `json:"waiting"`
	Bytes   int64 `json:"bytes,omitempty"`
	// Oldest is since when the oldest of it waits; zero when nothing does, or
	// when it is not known.
	Oldest time.Time `json:"oldest,omitzero"`
	// Failing is why the last try failed, or "": it is tried again.
	Failing string `json:"failing,omitempty"`
	// Retry is when it is tried again, where that is known.
	Retry time.Time `json:"retry,omitzero"`
}

// Archive is how a node finds an archive.
type Archive struct {
	Name     string    `json:"name"`
	Reached  bool      `json:"reached"`
	Why      string    `json:"why,omitempty"`
	Failures int64     `json:"failures,omitempty"`
	Resting  time.Time `json:"resting,omitzero"` // until when others are asked before it
}

// Sender is who sends, as a node knows it.
type Sender struct {
	// Name is the site's, or the AE title or address of who is of no site.
	Name string `json:"name"`
	// Known tells that it is a site of the configuration; FINESS is its number
	// in the register of structures, and By what its peers are known by.
	Known  bool     `json:"known,omitempty"`
	FINESS string   `json:"finess,omitempty"`
	By     []string `json:"by,omitempty"`
	// Credentials counts the bearer tokens that it is known by.
	Credentials int `json:"credentials,omitempty"`
	// Last is when something came of it last; zero for never.
	Last time.Time `json:"last,omitzero"`
	// Instances and Bytes are what came since the node started.
	Instances int64 `json:"instances,omitempty"`
	Bytes     int64 `json:"bytes,omitempty"`
}

// Certificate is one that the node shows to others, or trusts.
type Certificate struct {
	// Role is "node" or "authority".
	Role    string    `json:"role"`
	Name    string    `json:"name"`
	Expires time.Time `json:"expires"`
}

// Region is what the index says of all nodes together.
type Region struct {
	// Queues are those of the whole cluster.
	Queues []Queue
	// Overdue are studies that were received long ago and are not archived;
	// OverdueAfter is what long is.
	Overdue      []Study
	OverdueAfter time.Duration
	// Conflicts are the newest of ConflictCount instances that are kept aside.
	Conflicts     []Conflict
	ConflictCount int64
	// Deleted counts the deletions that can be undone yet, Holds what is kept
	// from being deleted.
	Deleted, Holds int64
	// Refused counts the studies that the shared record refused for good.
	Refused int64
}

// Study is a study that has waited for too long.
type Study struct {
	StudyInstanceUID string
	// Instances are those that are in no archive, received at the latest at
	// Received.
	Instances int64
	Received  time.Time
	// Planned tells that a pack is decided on, and not archived.
	Planned bool
}

// Conflict is an instance that is kept aside.
type Conflict struct {
	SOPInstanceUID   string
	StudyInstanceUID string
	// Why is "digest" or "patient".
	Why      string
	From     string
	Received time.Time
}
