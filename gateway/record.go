package gateway

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/journal"
	"github.com/esante-alsace/cigogne/storage/trace"
)

// recordVersion is the version of the journal header's form. In version 1
// digests were SHA-256.
const recordVersion = 2

// record is the header that an instance has in the journal: all that index
// and pack will need of it, so that its Data Set is walked once in its life.
type record struct {
	Version    int              `cbor:"1,keyasint"`
	Instance   storage.Instance `cbor:"2,keyasint"`
	Attributes dicom.DataSet    `cbor:"3,keyasint"`           // those that the index keeps
	Layout     []byte           `cbor:"4,keyasint,omitempty"` // its JSON form
	// Metadata is the DICOM JSON object, or nil for a Data Set whose
	// attributes were too many to hold while it was received: then it is
	// read from the Data Set when it is asked for.
	Metadata []byte `cbor:"5,keyasint,omitempty"`
	// From is where it lay in journals out of whose copies it was received
	// again.
	From []index.Position `cbor:"6,keyasint,omitempty"`

	bytes int           // of Attributes in JSON; not known when it was read back
	over  dicom.DataSet // overlay of Attributes; nil when it was read back
	// late is a Digest that the journal's header does not have: whoever reads
	// it back computes it, and finds what is damaged. It is nil when Instance
	// has the Digest.
	late  *lateDigest
	place *trace.Place  // nil when it is not followed
	took  time.Duration // to be received; 0 when it was read back
}

// instance is Instance with its Digest.
func (r *record) instance() storage.Instance {
	in := r.Instance
	if r.late != nil {
		in.Digest = r.late.sum()
	}
	return in
}

const (
	// keptMetadata bounds the metadata in a record, so that the record stays
	// well below journal.MaxHeaderBytes.
	keptMetadata = 384 << 10
	// keptAttribute and keptAttributes bound one and all of the attributes
	// that are indexed.
	keptAttribute  = 16 << 10
	keptAttributes = 128 << 10
)

// What tells patients apart is kept whatever else there is; the scanner bounds
// it to 1 KiB each.
const (
	tagPatientID         dicom.Tag = 0x00100020
	tagIssuerOfPatientID dicom.Tag = 0x00100021
)

// ofOwner tells those that are.
func ofOwner(t dicom.Tag) bool { return t == tagPatientID || t == tagIssuerOfPatientID }

// scratch is what one instance after the other is described in.
type scratch struct {
	elements dicom.DataSet
	text     []byte
}

// clear forgets what it holds, and tells whether it is worth to be kept.
func (s *scratch) clear() bool {
	clear(s.elements)
	return cap(s.elements) <= 1024 && cap(s.text) <= keptMetadata
}

// newRecord describes an instance whose Data Set has been walked. Its Metadata
// is text's until it is encoded.
func newRecord(in storage.Instance, found *dicom.Result, text *[]byte) (*record, error) {
	layout, err := found.Layout.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("encode layout: %w", err)
	}
	r := &record{Instance: in, Layout: layout}
	room := keptAttributes
	chosen := found.DataSet.Select(index.Indexed())
	r.Attributes = chosen[:0]
	for _, e := range chosen {
		*text = e.AppendJSON((*text)[:0])
		if ofOwner(e.Tag) || len(*text) <= min(keptAttribute, room) {
			r.Attributes = append(r.Attributes, e)
			room -= len(*text)
		}
	}
	r.bytes = keptAttributes - room
	r.over = overlay(r.Attributes, in.Origin.Sender)
	if !found.Overflow {
		if *text = found.DataSet.AppendJSON((*text)[:0]); len(*text) <= keptMetadata {
			r.Metadata = *text
		}
	}
	return r, nil
}

func (r *record) encode() ([]byte, error) {
	r.Version = recordVersion
	b, err := cbor.Marshal(r)
	if err == nil && len(b) > journal.MaxHeaderBytes {
		r.Metadata = nil // a layout of great length comes before it
		b, err = cbor.Marshal(r)
	}
	if err != nil {
		return nil, fmt.Errorf("encode journal header: %w", err)
	}
	return b, nil
}

// headerDepth is how deep a header may be nested: three for each of the 32
// levels of sequences that are read of an instance, and what is around them.
const headerDepth = 128

// decodeHeader is the inverse of how headers are encoded: what was written must
// be read, also text that is none.
func decodeHeader(header []byte, to any) error {
	mode, err := cbor.DecOptions{MaxNestedLevels: headerDepth, UTF8: cbor.UTF8DecodeInvalid}.DecMode()
	if err == nil {
		err = mode.Unmarshal(header, to)
	}
	if err != nil {
		return fmt.Errorf("%w: journal header: %w", storage.ErrCorrupt, err)
	}
	return nil
}

func decodeRecord(header []byte) (*record, error) {
	var r record
	if err := decodeHeader(header, &r); err != nil {
		return nil, err
	}
	return &r, checkVersion(r.Version)
}

func checkVersion(version int) error {
	if version == 1 {
		return fmt.Errorf("%w: journal header of version 1", storage.ErrEarlierDigest)
	}
	if version != recordVersion {
		return fmt.Errorf("%w: journal header of version %d", storage.ErrUnsupported, version)
	}
	return nil
}

// Readable tells by its first record whether this version of the program
// understands what a journal holds. If not, the error is of the record:
// storage.ErrEarlierDigest, or storage.ErrUnsupported. Of damage it says nothing.
func Readable(ctx context.Context, j Journal) error {
	enough := errors.New("enough was read")
	err := j.Replay(ctx, journal.Position{}, func(e journal.Entry) error {
		if _, err := decodeKept(e.Header); errors.Is(err, storage.ErrUnsupported) {
			return fmt.Errorf("journal at %v: %w", e.Position, err)
		}
		return enough
	})
	if errors.Is(err, enough) {
		return nil
	}
	return err
}

// readRecord reads the header of a journal entry back. An entry that has no
// Digest there is digested, and checked on the way: storage.ErrCorrupt.
func readRecord(ctx context.Context, j Journal, e journal.Entry) (*record, error) {
	r, err := decodeRecord(e.Header)
	if err != nil || r.Instance.Digest != (storage.Digest{}) {
		return r, err
	}
	body, err := j.Read(ctx, e.Position, storage.Range{Length: r.Instance.Size})
	if err != nil {
		return nil, err
	}
	defer body.Close()
	crc, digest := crc32.NewIEEE(), storage.NewDigester()
	if _, err := io.CopyN(crc, body, r.Instance.Prefix); err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.MultiWriter(crc, digest), body); err != nil {
		return nil, err
	}
	if crc.Sum32() != r.Instance.CRC32 {
		return nil, fmt.Errorf("%w: the bytes of instance %s are not those that were acknowledged", storage.ErrCorrupt, r.Instance.Key.SOPInstanceUID)
	}
	r.Instance.Digest = digest.Digest()
	return r, nil
}

// indexed is the record as the index takes it.
func (r *record) indexed(id index.JournalID, at journal.Position) index.Instance {
	over := r.over
	if over == nil {
		over = overlay(r.Attributes, r.Instance.Origin.Sender)
	}
	return index.Instance{Instance: r.instance(), At: indexPosition(id, at), Attributes: over, Took: int64(r.took), From: r.From}
}

func indexPosition(id index.JournalID, p journal.Position) index.Position {
	return index.Position{Journal: id, Segment: p.Segment, Offset: p.Offset}
}

func journalPosition(p index.Position) journal.Position {
	return journal.Position{Segment: p.Segment, Offset: p.Offset}
}
