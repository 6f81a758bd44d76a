package consensus

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/hashicorp/raft"

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

// sumBytes is the length of the CRC-32C that raft carries beside an entry.
const sumBytes = 4

// summed is an entry as it is given to raft: its log on disk is not compared with
// anything when it is read.
func summed(entry []byte) raft.Log {
	return raft.Log{Data: entry, Extensions: binary.LittleEndian.AppendUint32(nil, sumOf(entry))}
}

// intact tells whether an entry is as it was proposed. Of what an earlier
// version proposed nothing is known.
func intact(l *raft.Log) bool {
	return len(l.Extensions) != sumBytes || binary.LittleEndian.Uint32(l.Extensions) == sumOf(l.Data)
}

func sumOf(entry []byte) uint32 { return crc32.Checksum(entry, crc32.MakeTable(crc32.Castagnoli)) }
