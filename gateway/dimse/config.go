// Package dimse speaks DICOM over TCP: the upper layer (PS3.8), the message
// exchange (PS3.7), and on it the Verification and Storage services as SCP
// and as SCU, Storage Commitment and Query/Retrieve as SCP. See DESIGN.md.
package dimse

import (
	"cmp"
	"context"
	"iter"
	"log/slog"
	"slices"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/access"
	"github.com/esante-alsace/cigogne/gateway/commitment"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/trace"
)

// Receiver takes instances. gateway's Store use case is one.
type Receiver interface {
	// Receive reads in.Body to its end and returns what is then to be waited
	// for. An error wraps a sentinel of package storage where one fits. The
	// body must not be used after Receive has returned.
	Receive(ctx context.Context, in gateway.Incoming) (gateway.Pending, error)
}

// Committer takes requests for storage commitment; see commitment.Committer.
type Committer interface {
	// Ask returns nil when the request is durable: it will be answered, by a
	// Report. An error wraps a sentinel of package storage.
	Ask(ctx context.Context, rq commitment.Request) error
}

// Finder answers queries; see gateway.Searcher.
type Finder interface {
	// Find yields the answers in a stable order. An error wraps a sentinel of
	// package storage and is the last thing yielded.
	Find(ctx context.Context, q index.Query) iter.Seq2[dicom.DataSet, error]
	// Patients yields one answer for each patient of whom Find finds studies.
	Patients(ctx context.Context, q index.Query) iter.Seq2[dicom.DataSet, error]
}

// Retriever finds instances where they lie; see gateway.Retriever.
type Retriever interface {
	// Instances returns what is selected. Nothing is storage.ErrNotFound.
	Instances(ctx context.Context, sel gateway.Selector) ([]gateway.Instance, error)
}

// Destinations knows where AE titles listen; see gateway.Sites.
type Destinations interface {
	// Address is HOST:PORT, or "" where none is known.
	Address(title string) string
}

// Sent is told what was sent to whom. It does not block; see
// gateway.Retrievals.
type Sent interface {
	Sent(s gateway.Sending)
}

// Gatekeeper decides about every association and every operation; see
// access.Gatekeeper.
type Gatekeeper interface {
	Permit(ctx context.Context, who access.Caller, op access.Operation, resource string) error
}

// Config is what a Server needs. Numbers and durations that are zero have the
// default that stands beside them.
type Config struct {
	// AETitle is what the Server is called: default CIGOGNE.
	AETitle string
	// CalledAETitles are others that it answers to; "*" stands for any.
	CalledAETitles []string

	Receiver  Receiver  // needed for C-STORE
	Committer Committer // needed for storage commitment
	Finder    Finder    // needed for C-FIND, and for the Patient Root
	Retriever Retriever // needed for C-GET and C-MOVE
	// Destinations are those of C-MOVE, which needs them.
	Destinations Destinations
	Sent         Sent       // of C-GET and C-MOVE: default nobody
	Gatekeeper   Gatekeeper // default access.Open
	Metrics      Metrics    // default none
	// Tracer follows associations and what is stored over them; nil none.
	Tracer *trace.Tracer
	Log    *slog.Logger // default discards

	// MaxPDULength is the longest P-DATA-TF that is announced and taken:
	// default 128 KiB, which is the most that DCMTK sends, at least 4 KiB. An
	// association holds one buffer of half of this, at least 64 KiB.
	MaxPDULength int
	// MaxAssociateLength bounds an A-ASSOCIATE-RQ: default 256 KiB.
	MaxAssociateLength int
	// MaxCommandLength bounds a command set together with the heads of its
	// fragments: default 64 KiB.
	MaxCommandLength int
	// MaxDataSetLength bounds a data set: 0 is no bound.
	MaxDataSetLength int64
	// AsyncWindow is how many operations a requestor may have in flight when
	// it negotiates the asynchronous window: default 16.
	AsyncWindow int

	// MaxOperations bounds the operations of Query/Retrieve that go on at a
	// time (default 64), and MaxOperationsPerHost those of one host (default
	// 16). Beyond them requests are refused with A700.
	MaxOperations        int
	MaxOperationsPerHost int
	// MaxMatches is the most answers to a C-FIND, after which it ends with
	// A700: default 10,000. FindTimeout bounds its time, in which they must be
	// taken, too: default 5 min.
	MaxMatches  int
	FindTimeout time.Duration

	// MaxRetrievals bounds the C-GETs and C-MOVEs that send at a time: default
	// 16, of which three quarters may be to one host. RetrievalWait is how long
	// others wait for their turn before they are refused with A702: default 30 s.
	MaxRetrievals int
	RetrievalWait time.Duration
	// SuboperationTimeout is how long a peer may take to answer a C-STORE of
	// theirs: default 60 s.
	SuboperationTimeout time.Duration

	// MaxAssociations bounds the established associations (default 100) and
	// MaxAssociationsPerAE those of one calling AE title (default 50). Beyond
	// them requests are rejected as 'local-limit-exceeded'.
	MaxAssociations      int
	MaxAssociationsPerAE int
	// Draining tells whether new associations are rejected, as
	// 'local-limit-exceeded', while those there are go on: default never.
	Draining func() bool
	// MaxConnections bounds the connections in whatever state: default 512
	// more than MaxAssociations. Beyond it they are rejected unread as
	// 'temporary-congestion'.
	MaxConnections int

	// ARTIM is the time for an A-ASSOCIATE-RQ to arrive, and for the peer to
	// close a connection that has ended (PS3.8 §9.1.5): default 10 s.
	ARTIM time.Duration
	// Idle is the time in which a peer whose turn it is must send a PDU, or
	// 16 KiB of one: default 60 s. The time in which nothing is read from it,
	// because it is this node that is busy, does not count.
	Idle time.Duration
	// WriteTimeout bounds the sending of one PDU: default 30 s.
	WriteTimeout time.Duration
	// DrainTimeout bounds the reading of the rest of a data set that was
	// refused: default 60 s.
	DrainTimeout time.Duration
	// Grace is how long associations may go on when the Server ends: default
	// 10 s.
	Grace time.Duration
}

func (c Config) withDefaults() Config {
	c.AETitle = cmp.Or(c.AETitle, "CIGOGNE")
	c.MaxPDULength = max(cmp.Or(c.MaxPDULength, 128<<10), 4<<10)
	c.MaxAssociateLength = cmp.Or(c.MaxAssociateLength, 256<<10)
	c.MaxCommandLength = cmp.Or(c.MaxCommandLength, 64<<10)
	c.AsyncWindow = cmp.Or(c.AsyncWindow, 16)
	c.MaxOperations = cmp.Or(c.MaxOperations, 64)
	c.MaxOperationsPerHost = cmp.Or(c.MaxOperationsPerHost, 16)
	c.MaxMatches = cmp.Or(c.MaxMatches, 10_000)
	c.FindTimeout = cmp.Or(c.FindTimeout, 5*time.Minute)
	c.MaxRetrievals = cmp.Or(c.MaxRetrievals, 16)
	c.RetrievalWait = cmp.Or(c.RetrievalWait, 30*time.Second)
	c.SuboperationTimeout = cmp.Or(c.SuboperationTimeout, time.Minute)
	c.MaxAssociations = cmp.Or(c.MaxAssociations, 100)
	c.MaxAssociationsPerAE = cmp.Or(c.MaxAssociationsPerAE, 50)
	c.MaxConnections = cmp.Or(c.MaxConnections, c.MaxAssociations+512)
	c.ARTIM = cmp.Or(c.ARTIM, 10*time.Second)
	c.Idle = cmp.Or(c.Idle, time.Minute)
	c.WriteTimeout = cmp.Or(c.WriteTimeout, 30*time.Second)
	c.DrainTimeout = cmp.Or(c.DrainTimeout, time.Minute)
	c.Grace = cmp.Or(c.Grace, 10*time.Second)
	if c.Gatekeeper == nil {
		c.Gatekeeper = access.Open{}
	}
	if c.Metrics == nil {
		c.Metrics = noMetrics{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// called tells whether the Server answers to the AE title.
func (c *Config) called(title string) bool {
	return title == c.AETitle || slices.Contains(c.CalledAETitles, title) || slices.Contains(c.CalledAETitles, "*")
}

// bufferLength is the length of an association's read buffer.
func bufferLength(maxPDU int) int { return max(maxPDU/2, 64<<10) }
