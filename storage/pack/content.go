package pack

import (
	"context"
	"errors"
	"io"

	"github.com/esante-alsace/cigogne/storage"
)

// content is what lies in a member's entry: the blocks of it, or, where these
// are nil, its own bytes.
func (b *builder) content(ctx context.Context, m *Member) (piece, *blocks, error) {
	whole := piece{size: m.Size, open: m.Open, member: m, crc: m.CRC32}
	if b.method == stored || !compressible(m) {
		return whole, nil, nil
	}
	cuts, ok := cut(m)
	if !ok {
		return whole, nil, nil
	}
	if b.compressor == nil {
		var err error
		if b.compressor, err = newCompressor(b.method); err != nil {
			return whole, nil, err
		}
	}
	packed, spooled, err := b.compress(ctx, m, cuts)
	if packed == nil || err != nil {
		return whole, nil, err
	}
	spooled.member, spooled.crc = m, packed.crc
	return spooled, packed.blocks, nil
}

// compress compresses a member into the spool, or past it where that has no
// room. It returns nil when the member is to stay as it is.
func (b *builder) compress(ctx context.Context, m *Member, cuts cuts) (*packed, piece, error) {
	spool := b.pack.bulk
	if from := spool.size; from+m.Size <= b.room {
		packed, err := b.compressor.compress(ctx, m, cuts, spool)
		if packed != nil {
			return packed, spool.since(from), nil
		}
		if err := spool.rewind(from); err != nil {
			return nil, piece{}, err
		}
		if !errors.Is(err, storage.ErrFull) {
			return nil, piece{}, err
		}
		b.room = 0 // a journal on the same disk must be emptied all the same
	}
	packed, err := b.compressor.compress(ctx, m, cuts, io.Discard)
	if packed == nil {
		return nil, piece{}, err
	}
	return packed, piece{size: packed.blocks.length, open: packed.blocks.again(m)}, nil
}
