package index

import (
	"fmt"

	"github.com/esante-alsace/cigogne/storage"
)

// Stamp says who proposed a batch, and when: all that has a time in the index
// has it from there.
type Stamp struct {
	Node string `cbor:"1,keyasint,omitempty"`
	At   int64  `cbor:"2,keyasint"` // nanoseconds of Unix time
	// Durable is when the last of Received became durable, or 0 when that is
	// not known any more.
	Durable int64 `cbor:"3,keyasint,omitempty"`
	// Keep is how many events are kept; 0 leaves them as they are.
	Keep int64 `cbor:"4,keyasint,omitempty"`
	// Holders are the nodes in whose journals Received lies, this one among
	// them; none where that is not known.
	Holders []string `cbor:"5,keyasint,omitempty"`
}

// holdersMost bounds the nodes that are named of a batch.
const holdersMost = 16

// EventKind says what happened.
type EventKind int

const (
	// EventReceived means: instances are in the index that were not before.
	EventReceived EventKind = iota + 1
	// EventKeptAside means: instances are kept aside.
	EventKeptAside
	// EventArchived means: an archive has a pack that it did not have.
	EventArchived
	// EventRetrieved means: instances were sent to somebody.
	EventRetrieved
	// EventDeleted means: a study, or a series of it, is out of sight.
	EventDeleted
	// EventRestored means: a deletion was undone.
	EventRestored
	// EventRemoved means: no archive has any more what was deleted.
	EventRemoved
	// EventComplete means: a study is complete, as a new version.
	EventComplete
	// EventPublished means: the shared record has the manifest of a version.
	EventPublished
	// EventWithdrawn means: it has it no more.
	EventWithdrawn
	// EventIdentity means: something was decided about an identity. It is of no
	// study, and in no history.
	EventIdentity
)

const (
	// EventCut means: a retrieval ended before all was sent; Bytes were.
	EventCut EventKind = 12 + iota
	// EventCommitted means: whoever asked for it is told that the instances are
	// kept, or will be. Origin is who asked, and First when.
	EventCommitted
)

// Event is something that happened to instances of one series, in one batch.
type Event struct {
	// Sequence is its place in the feed: each has the number after that of the
	// one before.
	Sequence          int64     `cbor:"-"`
	Kind              EventKind `cbor:"1,keyasint"`
	At                int64     `cbor:"2,keyasint"` // the batch's, nanoseconds of Unix time
	Node              string    `cbor:"3,keyasint,omitempty"`
	StudyInstanceUID  string    `cbor:"4,keyasint"`
	SeriesInstanceUID string    `cbor:"5,keyasint,omitempty"`
	Instances         int64     `cbor:"6,keyasint,omitempty"`
	Bytes             int64     `cbor:"7,keyasint,omitempty"`
	// First and Last are when it happened to the first and the last of the
	// instances.
	First int64 `cbor:"8,keyasint,omitempty"`
	Last  int64 `cbor:"9,keyasint,omitempty"`
	// Durable is when they were durable: see Stamp.
	Durable int64 `cbor:"10,keyasint,omitempty"`
	// Origin is from whom they were received, or to whom they were sent.
	Origin  storage.Origin `cbor:"11,keyasint"`
	Archive string         `cbor:"12,keyasint,omitempty"`
	PackID  string         `cbor:"13,keyasint,omitempty"`
	// DeletionID is of what was deleted, restored and removed.
	DeletionID string `cbor:"14,keyasint,omitempty"`
	// Version is of what a study is complete as.
	Version int64 `cbor:"15,keyasint,omitempty"`
	// Took is for how long bytes were moved, when that is known: by each of
	// those who did so, added up.
	Took int64 `cbor:"16,keyasint,omitempty"` // nanoseconds
	// Nodes are those whose journals had them when they were durable.
	Nodes []string `cbor:"17,keyasint,omitempty"`
	// IdentityChange names the decision of EventIdentity.
	IdentityChange string `cbor:"18,keyasint,omitempty"`
}

// eventKey is what is told apart of what happens in a batch.
type eventKey struct {
	kind                        EventKind
	study, series               string
	origin                      storage.Origin
	archive, packID, deletionID string
	version                     int64
	identityChange              string
}

func (e *Event) key() eventKey {
	return eventKey{e.Kind, e.StudyInstanceUID, e.SeriesInstanceUID, e.Origin, e.Archive, e.PackID, e.DeletionID, e.Version, e.IdentityChange}
}

// noteTextBytes bounds each text of an Origin in a note.
const noteTextBytes = 256

// validateStamp bounds what came with a batch beside its mutations.
func (b Batch) validateStamp() error {
	if s := b.Stamp; s != nil && (len(s.Node) > nameBytes || s.At < 0 || s.Durable < 0 || s.Keep < 0 || !validHolders(s.Holders)) {
		return fmt.Errorf("%w: the stamp of a batch", storage.ErrInvalid)
	}
	if len(b.Notes) > BatchRows {
		return fmt.Errorf("%w: a batch of more than %d notes", storage.ErrInvalid, BatchRows)
	}
	for i := range b.Notes {
		if err := b.Notes[i].validate(); err != nil {
			return err
		}
	}
	return nil
}

func validHolders(nodes []string) bool {
	for _, n := range nodes {
		if n == "" || len(n) > nameBytes {
			return false
		}
	}
	return len(nodes) <= holdersMost
}

// shortTexts tells whether each text of an Origin is within its bound.
func shortTexts(o *storage.Origin) bool {
	return max(len(o.Transport), len(o.CallingAETitle), len(o.CalledAETitle), len(o.RemoteAddr), len(o.ID)) <= noteTextBytes
}

// validate holds a note to what may be noted from outside: what follows from
// mutations is not.
func (e *Event) validate() error {
	switch {
	case e.Kind != EventRetrieved && e.Kind != EventCut:
		return fmt.Errorf("%w: a note of kind %d", storage.ErrInvalid, e.Kind)
	case !storage.ValidUID(e.StudyInstanceUID), e.SeriesInstanceUID != "" && !storage.ValidUID(e.SeriesInstanceUID):
		return fmt.Errorf("%w: a note names no study", storage.ErrInvalid)
	case !shortTexts(&e.Origin), e.Instances < 0, e.Bytes < 0, e.First < 0, e.Last < e.First, e.Took < 0, len(e.Nodes) > 0, len(e.Archive) > nameBytes, len(e.PackID) > nameBytes, e.DeletionID != "", e.Version != 0, e.IdentityChange != "":
		return fmt.Errorf("%w: a note", storage.ErrInvalid)
	}
	return nil
}
