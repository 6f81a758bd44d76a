package consensus

import (
	"fmt"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// kindBatch stands before an entry that is a batch of the index, as
// index.EncodeBatch writes it. Other kinds may come; a node that does not know
// one cannot go on.
const kindBatch = 1

// entryBytes is the most an entry may take: it is in memory several times
// while it is sent, and a follower must take it within a timeout.
const entryBytes = 16 << 20

func encodeEntry(b index.Batch) ([]byte, error) {
	p, err := index.EncodeBatch(b)
	if err != nil {
		return nil, err
	}
	if len(p) >= entryBytes {
		return nil, fmt.Errorf("%w: a batch of %d bytes is too large to be replicated", storage.ErrInvalid, len(p))
	}
	return append([]byte{kindBatch}, p...), nil
}

// decodeEntry is the inverse of encodeEntry; an entry that is not understood
// is storage.ErrUnsupported.
func decodeEntry(p []byte) (index.Batch, error) {
	if len(p) == 0 || len(p) > entryBytes || p[0] != kindBatch {
		return index.Batch{}, fmt.Errorf("%w: a log entry of %d bytes", storage.ErrUnsupported, len(p))
	}
	b, err := index.DecodeBatch(p[1:])
	if err != nil {
		// Who proposed it understood it: it is of a newer version. That it is
		// invalid here must not be taken for what it is everywhere.
		return index.Batch{}, fmt.Errorf("%w: a log entry that this version does not understand: %v", storage.ErrUnsupported, err) //nolint:errorlint // see above
	}
	return b, nil
}
