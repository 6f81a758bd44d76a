package index

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

// Bounds of a batch. What is beyond them is storage.ErrInvalid.
const (
	// BatchBytes is the most an encoded batch may take.
	BatchBytes = 64 << 20
	// BatchRows is the most entries of each kind, and members of each pack.
	BatchRows = 100_000
	// AttributeBytes is the most text of one instance's Attributes that is
	// kept. What is beyond is left out and refuses no instance.
	AttributeBytes = 64 << 10
	// attributeDepth is how deep sequences may lie in each other.
	attributeDepth = 4
	nameBytes      = 1024 // a PackID, an archive's URL, a key, a journal's name
)

// batchVersion stands before the CBOR of a batch. In version 1 digests were
// SHA-256.
const batchVersion = 2

type wireInstance struct {
	Instance   storage.Instance `cbor:"1,keyasint"`
	At         Position         `cbor:"2,keyasint"`
	Attributes wireSet          `cbor:"3,keyasint"`
	Took       int64            `cbor:"4,keyasint,omitempty"`
	From       []Position       `cbor:"5,keyasint,omitempty"`
}

type wireAdopted struct {
	Pack      PackArchive    `cbor:"1,keyasint"`
	Conflict  bool           `cbor:"2,keyasint,omitempty"`
	Instances []wireInstance `cbor:"3,keyasint"`
}

type wireBatch struct {
	Through  Position        `cbor:"1,keyasint"`
	Received []wireInstance  `cbor:"2,keyasint,omitempty"`
	Planned  []Plan          `cbor:"3,keyasint,omitempty"`
	Archived []PackArchive   `cbor:"4,keyasint,omitempty"`
	Adopted  []wireAdopted   `cbor:"5,keyasint,omitempty"`
	Journals []JournalChange `cbor:"6,keyasint,omitempty"`

	Deletions   []wireDeletion `cbor:"7,keyasint,omitempty"`
	Protections []Protection   `cbor:"8,keyasint,omitempty"`
	Identities  *Identities    `cbor:"9,keyasint,omitempty"`
	Commitments []Commitment   `cbor:"10,keyasint,omitempty"`
	Life        *Life          `cbor:"11,keyasint,omitempty"`
	Outbox      []Delivery     `cbor:"12,keyasint,omitempty"`

	Stamp *Stamp  `cbor:"13,keyasint,omitempty"`
	Notes []Event `cbor:"14,keyasint,omitempty"`

	Refusals []Refusal `cbor:"15,keyasint,omitempty"`
}

type wireDeletion struct {
	Deletion Deletion       `cbor:"1,keyasint"`
	Aside    []wireInstance `cbor:"2,keyasint,omitempty"`
}

// EncodeBatch is the batch as raft carries it: a version byte and CBOR in
// core deterministic encoding, so that equal batches are equal bytes. A batch
// that DecodeBatch would refuse is storage.ErrInvalid.
func EncodeBatch(b Batch) ([]byte, error) {
	if err := b.Validate(); err != nil {
		return nil, err
	}
	c, err := newCodec()
	if err != nil {
		return nil, err
	}
	w := wireBatch{Through: b.Through, Planned: b.Planned, Archived: b.Archived, Received: toWireInstances(b.Received), Journals: b.Journals, Protections: b.Protections}
	w.Identities, w.Life, w.Outbox, w.Stamp, w.Notes = b.Identities, b.Life, b.Outbox, b.Stamp, b.Notes
	w.Commitments, w.Refusals = b.Commitments, b.Refusals
	for _, d := range b.Deletions {
		w.Deletions = append(w.Deletions, wireDeletion{d, toWireInstances(d.Aside)})
	}
	for _, a := range b.Adopted {
		w.Adopted = append(w.Adopted, wireAdopted{a.Pack, a.Conflict, toWireInstances(a.Instances)})
	}
	p, err := c.enc.Marshal(w)
	if err != nil {
		return nil, fmt.Errorf("encode a batch: %w", err)
	}
	if len(p) >= BatchBytes {
		return nil, fmt.Errorf("%w: a batch of %d bytes", storage.ErrInvalid, len(p))
	}
	if err := c.dec.Wellformed(p); err != nil { // the bounds, too
		return nil, fmt.Errorf("%w: a batch: %w", storage.ErrInvalid, err)
	}
	return append([]byte{batchVersion}, p...), nil
}

// DecodeBatch is the inverse of EncodeBatch. Other bytes, and more of them
// than the bounds allow, are storage.ErrInvalid; an unknown version is
// storage.ErrUnsupported.
func DecodeBatch(p []byte) (Batch, error) {
	if len(p) == 0 || len(p) > BatchBytes {
		return Batch{}, fmt.Errorf("%w: a batch of %d bytes", storage.ErrInvalid, len(p))
	}
	if p[0] == 1 {
		return Batch{}, fmt.Errorf("%w: batch version 1", storage.ErrEarlierDigest)
	}
	if p[0] != batchVersion {
		return Batch{}, fmt.Errorf("%w: batch version %d", storage.ErrUnsupported, p[0])
	}
	c, err := newCodec()
	if err != nil {
		return Batch{}, err
	}
	var w wireBatch
	if err := c.dec.Unmarshal(p[1:], &w); err != nil {
		return Batch{}, fmt.Errorf("%w: batch: %w", storage.ErrInvalid, err)
	}
	b := Batch{Through: w.Through, Planned: w.Planned, Archived: w.Archived, Received: fromWireInstances(w.Received), Journals: w.Journals, Protections: w.Protections}
	b.Identities, b.Life, b.Outbox, b.Stamp, b.Notes = w.Identities, w.Life, w.Outbox, w.Stamp, w.Notes
	b.Commitments, b.Refusals = w.Commitments, w.Refusals
	for _, d := range w.Deletions {
		d.Deletion.Aside = fromWireInstances(d.Aside)
		b.Deletions = append(b.Deletions, d.Deletion)
	}
	for _, a := range w.Adopted {
		b.Adopted = append(b.Adopted, AdoptedPack{a.Pack, a.Conflict, fromWireInstances(a.Instances)})
	}
	return b, b.Validate()
}

func toWireInstances(in []Instance) []wireInstance {
	var out []wireInstance
	for _, i := range in {
		out = append(out, wireInstance{i.Instance, i.At, toWire(bound(i.Attributes)), i.Took, i.From})
	}
	return out
}

func fromWireInstances(in []wireInstance) []Instance {
	var out []Instance
	for _, i := range in {
		out = append(out, Instance{i.Instance, i.At, fromWire(i.Attributes), i.Took, i.From})
	}
	return out
}

// Validate returns nil, or an error that wraps storage.ErrInvalid and says
// what no node may apply.
func (b Batch) Validate() error {
	if max(len(b.Received), len(b.Planned), len(b.Archived), len(b.Adopted), len(b.Journals), len(b.Deletions), len(b.Protections), len(b.Outbox), len(b.Commitments), len(b.Refusals)) > BatchRows {
		return fmt.Errorf("%w: a batch of more than %d entries", storage.ErrInvalid, BatchRows)
	}
	if err := errors.Join(b.Through.validate(), b.Identities.validate(), b.Life.validate()); err != nil {
		return err
	}
	if err := b.validateStamp(); err != nil {
		return err
	}
	for i := range b.Received {
		if err := b.Received[i].validate(); err != nil {
			return err
		}
	}
	return cmp.Or(validateAll(b.Planned), validateAll(b.Archived), validateAll(b.Adopted), validateAll(b.Journals),
		validateAll(b.Deletions), validateAll(b.Protections), validateAll(b.Outbox), validateAll(b.Commitments), validateAll(b.Refusals))
}

// validateAll returns the first error.
func validateAll[T interface{ validate() error }](list []T) error {
	for _, e := range list {
		if err := e.validate(); err != nil {
			return err
		}
	}
	return nil
}

func (p Position) validate() error {
	if len(p.Journal) > nameBytes || p.Offset < 0 || p.Segment > 1<<62 {
		return fmt.Errorf("%w: journal position", storage.ErrInvalid)
	}
	return nil
}

// after tells whether p lies past q in their journal.
func (p Position) after(q Position) bool {
	return p.Segment > q.Segment || p.Segment == q.Segment && p.Offset > q.Offset
}

// fromMost is in how many journals an instance may have lain.
const fromMost = 64

func (i *Instance) validate() error {
	if err := i.Key.Validate(); err != nil {
		return err
	}
	if len(i.From) > fromMost {
		return fmt.Errorf("%w: %s lay in %d places", storage.ErrInvalid, i.Key, len(i.From))
	}
	for _, p := range append([]Position{i.At}, i.From...) {
		if err := p.validate(); err != nil {
			return err
		}
	}
	if i.Prefix < 0 || i.Size < i.Prefix || i.Took < 0 {
		return fmt.Errorf("%w: %s has size %d with a prefix of %d, received in %d", storage.ErrInvalid, i.Key, i.Size, i.Prefix, i.Took)
	}
	return nil
}

// bounded tells whether ds is sorted and within the bounds; left is the text
// that may still come.
func bounded(ds dicom.DataSet, depth int, left *int) bool {
	if depth == 0 {
		return false
	}
	for i, e := range ds {
		*left -= elementBytes
		for _, v := range e.Values {
			*left -= len(v) + valueBytes
		}
		if i > 0 && ds[i-1].Tag >= e.Tag || *left < 0 || len(e.VR) > 2 {
			return false
		}
		for _, item := range e.Items {
			*left -= elementBytes
			if !bounded(item, depth-1, left) {
				return false
			}
		}
	}
	return true
}

// What an element or an item, and a value, count beside their text.
const (
	elementBytes = 16
	valueBytes   = 4
)

func (p Plan) validate() error {
	if !validName(p.PackID) || !storage.ValidUID(p.StudyInstanceUID) || !storage.ValidUID(p.SeriesInstanceUID) {
		return fmt.Errorf("%w: the name of a plan", storage.ErrInvalid)
	}
	if len(p.SOPs) != len(p.Members) || len(p.SOPs) == 0 || len(p.SOPs) > BatchRows {
		return fmt.Errorf("%w: plan %s has %d SOPInstanceUIDs and %d digests", storage.ErrInvalid, p.PackID, len(p.SOPs), len(p.Members))
	}
	if len(p.Compression) > nameBytes {
		return fmt.Errorf("%w: the compression of plan %s", storage.ErrInvalid, p.PackID)
	}
	for _, sop := range p.SOPs {
		if !storage.ValidUID(sop) {
			return fmt.Errorf("%w: plan %s names a SOPInstanceUID that is not a UID", storage.ErrInvalid, p.PackID)
		}
	}
	return nil
}

func (a PackArchive) validate() error {
	if !validName(a.PackID) || !validName(a.Archive) || !validName(a.Key) || a.Size < 0 || a.Took < 0 {
		return fmt.Errorf("%w: an archived pack", storage.ErrInvalid)
	}
	return nil
}

func validName(s string) bool { return s != "" && len(s) <= nameBytes }

// validate also holds the instances to the one series that a pack is of.
func (a AdoptedPack) validate() error {
	if err := a.Pack.validate(); err != nil {
		return err
	}
	if len(a.Instances) == 0 || len(a.Instances) > BatchRows {
		return fmt.Errorf("%w: adopted pack %s of %d instances", storage.ErrInvalid, a.Pack.PackID, len(a.Instances))
	}
	of := a.Instances[0].Key
	for i := range a.Instances {
		in := &a.Instances[i]
		if err := in.validate(); err != nil {
			return err
		}
		if in.Key.StudyInstanceUID != of.StudyInstanceUID || in.Key.SeriesInstanceUID != of.SeriesInstanceUID {
			return fmt.Errorf("%w: adopted pack %s is of two series", storage.ErrInvalid, a.Pack.PackID)
		}
	}
	return nil
}
