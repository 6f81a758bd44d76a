package gateway

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// recordVersion is the version of the journal header's form.
const recordVersion = 1

// record is the header that an instance has in the journal: all that index
// and pack will need of it, so that its Data Set is walked once in its life.
type record struct {
	Version    int              `cbor:"1,keyasint"`
	Instance   storage.Instance `cbor:"2,keyasint"`
	Attributes dicom.DataSet    `cbor:"3,keyasint"` // those that the index keeps
	Layout     *dicom.Layout    `cbor:"4,keyasint,omitempty"`
	// Metadata is the DICOM JSON object, or nil for a Data Set whose
	// attributes were too many to hold while it was received: then it is
	// read from the Data Set when it is asked for.
	Metadata []byte `cbor:"5,keyasint,omitempty"`
}

func (r *record) encode() ([]byte, error) {
	r.Version = recordVersion
	b, err := cbor.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode journal header: %w", err)
	}
	return b, nil
}

func decodeRecord(header []byte) (*record, error) {
	var r record
	if err := cbor.Unmarshal(header, &r); err != nil {
		return nil, fmt.Errorf("%w: journal header: %w", storage.ErrCorrupt, err)
	}
	if r.Version != recordVersion {
		return nil, fmt.Errorf("%w: journal header of version %d", storage.ErrUnsupported, r.Version)
	}
	return &r, nil
}

// indexed is the record as the index takes it.
func (r *record) indexed(id index.JournalID, at journal.Position) index.Instance {
	return index.Instance{Instance: r.Instance, At: indexPosition(id, at), Attributes: r.Attributes}
}

func indexPosition(id index.JournalID, p journal.Position) index.Position {
	return index.Position{Journal: id, Segment: p.Segment, Offset: p.Offset}
}

func journalPosition(p index.Position) journal.Position {
	return journal.Position{Segment: p.Segment, Offset: p.Offset}
}
