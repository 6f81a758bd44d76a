// Package index answers which studies, series and instances there are and
// where they lie. It is a state that changes by mutations alone: the same
// mutations in the same order give the same state on every node. No DICOM is
// parsed and no clock is read while applying.
package index

import (
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

// JournalID names one node's journal.
type JournalID string

// Position is a place in a journal; positions of one journal are ordered.
type Position struct {
	Journal JournalID `cbor:"1,keyasint"`
	Segment uint64    `cbor:"2,keyasint"`
	Offset  int64     `cbor:"3,keyasint"`
}

// Instance is one instance as it is entered into the index.
type Instance struct {
	storage.Instance `cbor:"1,keyasint"`
	// At is where it lies; the zero Position for one that lies in a pack.
	At Position `cbor:"2,keyasint"`
	// Attributes holds those of the attributes in Indexed that it has.
	Attributes dicom.DataSet `cbor:"3,keyasint"`
	// Took is how long it took to be received, in nanoseconds; 0 where that is
	// not known. It is told of, and not kept.
	Took int64 `cbor:"4,keyasint,omitempty"`
	// From is where it lay before, in journals out of whose copies it was
	// received again: a deletion that took it there takes it here.
	From []Position `cbor:"5,keyasint,omitempty"`
}

// Batch is what is applied at once, in one transaction: all of it or nothing.
type Batch struct {
	// Through is the journal position up to and including which this batch
	// and those before it have indexed Through.Journal; the zero Position
	// leaves the watermark where it is. A batch at or below the watermark was
	// applied before, and its Received are skipped, as are those of a journal
	// that is retired.
	Through  Position      `cbor:"1,keyasint"`
	Received []Instance    `cbor:"2,keyasint,omitempty"`
	Planned  []Plan        `cbor:"3,keyasint,omitempty"`
	Archived []PackArchive `cbor:"4,keyasint,omitempty"`
	// Adopted enters packs that were found in an archive (rebuild).
	Adopted []AdoptedPack `cbor:"5,keyasint,omitempty"`
	// Journals tells whose journals are, and which are retired.
	Journals []JournalChange `cbor:"6,keyasint,omitempty"`
	// Deletions are steps of deletions, Protections change what must not be
	// deleted.
	Deletions   []Deletion   `cbor:"7,keyasint,omitempty"`
	Protections []Protection `cbor:"8,keyasint,omitempty"`
	// Identities tells which identifiers are one person's; nil for nothing new.
	Identities *Identities `cbor:"9,keyasint,omitempty"`
	// Commitments are steps of requests for storage commitment.
	Commitments []Commitment `cbor:"10,keyasint,omitempty"`
	// Life says which studies are complete; nil for nothing new.
	Life *Life `cbor:"11,keyasint,omitempty"`
	// Outbox are steps of what is brought to the shared record.
	Outbox []Delivery `cbor:"12,keyasint,omitempty"`
	// Stamp is who proposed it, and when. What a batch without one does is in
	// no feed.
	Stamp *Stamp `cbor:"13,keyasint,omitempty"`
	// Notes are things that happened and change nothing: EventRetrieved.
	Notes []Event `cbor:"14,keyasint,omitempty"`
	// Refusals tells which certificates of nodes are not let in.
	Refusals []Refusal `cbor:"15,keyasint,omitempty"`
}

// Plan fixes which instances a pack will hold, before it is written: a crash
// at any later step repeats the same pack.
type Plan struct {
	PackID            string `cbor:"1,keyasint"`
	StudyInstanceUID  string `cbor:"2,keyasint"`
	SeriesInstanceUID string `cbor:"3,keyasint"`
	// Conflict is true for a pack of instances that are kept aside.
	Conflict bool             `cbor:"4,keyasint,omitempty"`
	Members  []storage.Digest `cbor:"5,keyasint"` // sorted as in the pack
	SOPs     []string         `cbor:"6,keyasint"` // SOPInstanceUID of each member
	// Compression names how the pack will be compressed, empty for not at all;
	// the index passes it on.
	Compression string `cbor:"7,keyasint,omitempty"`
}

// PackArchive tells that a planned pack lies in an archive: its instances lose
// their rows and the series gains a pack.
type PackArchive struct {
	PackID  string `cbor:"1,keyasint"`
	Archive string `cbor:"2,keyasint"` // the archive's URL
	Key     string `cbor:"3,keyasint"`
	Size    int64  `cbor:"4,keyasint"`
	CRC32C  uint32 `cbor:"5,keyasint"` // of the whole object; 0 while it is not known
	At      int64  `cbor:"6,keyasint"` // nanoseconds of Unix time
	// Took is how long it took to be built and put, in nanoseconds; 0 where
	// that is not known. It is told of, and not kept.
	Took int64 `cbor:"7,keyasint,omitempty"`
}

// AdoptedPack is a pack found in an archive with the instances its metadata
// entry lists; their At is the zero Position.
type AdoptedPack struct {
	Pack      PackArchive `cbor:"1,keyasint"`
	Conflict  bool        `cbor:"2,keyasint,omitempty"`
	Instances []Instance  `cbor:"3,keyasint"`
}

// Pack is a row of a series: one pack that holds a part of its instances.
type Pack struct {
	PackID            string
	StudyInstanceUID  string
	SeriesInstanceUID string
	// Conflict is true for a pack of instances that are kept aside.
	Conflict bool
	Copies   []PackArchive
	// Instances is how many it holds.
	Instances int
	// Members are those of its instances that belong to the series: an adopted
	// pack can hold others, that are kept aside or lie in another pack too.
	// Only what Members holds may be shown. For a pack of conflicts, and for
	// the conflicts in a pack, it is what is kept aside.
	Members Members
}
