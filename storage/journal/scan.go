package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/esante-alsace/cigogne/storage"
)

// scanner walks through the records of one segment file.
type scanner struct {
	f    io.ReaderAt
	salt uint64
	// limit is where the segment ends.
	limit int64
	guess []byte
}

func newScanner(f io.ReaderAt, salt uint64, limit int64) *scanner {
	return &scanner{f: f, salt: salt, limit: limit, guess: make([]byte, headerGuess)}
}

// gap is a place where no record could be read: the next one begins at next,
// which is the scanner's limit when there is none.
type gap struct {
	at, next int64
	err      error
}

// walk calls visit for each record from an offset on, and skip for each gap.
// It ends with the first error of either, ctx's or the file's.
func (sc *scanner) walk(ctx context.Context, from int64, visit func(*record) error, skip func(gap) error) error {
	for off := from; off < sc.limit; {
		if err := ctx.Err(); err != nil {
			return err
		}
		r, err := readRecord(sc.f, sc.salt, off, sc.limit, sc.guess)
		if err == nil {
			if err := visit(&r); err != nil {
				return err
			}
			off = r.end()
			continue
		}
		if !errors.Is(err, storage.ErrCorrupt) {
			return err
		}
		next, ferr := sc.find(ctx, off+recordAlign)
		if ferr != nil {
			return ferr
		}
		if err := skip(gap{at: off, next: next, err: err}); err != nil {
			return err
		}
		off = next
	}
	return nil
}

// find returns the offset of the first record at or after off whose header
// matches its checksum, or limit.
func (sc *scanner) find(ctx context.Context, off int64) (int64, error) {
	window := make([]byte, min(1<<20, max(sc.limit-off, 0)))
	for off < sc.limit {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		w := window[:min(int64(len(window)), sc.limit-off)]
		if err := readFull(sc.f, w, off); err != nil {
			return 0, err
		}
		for i := 0; i+4 <= len(w); i += recordAlign {
			if binary.LittleEndian.Uint32(w[i:]) != recordMagic {
				continue
			}
			at := off + int64(i)
			if _, err := readRecord(sc.f, sc.salt, at, sc.limit, sc.guess); err == nil {
				return at, nil
			}
		}
		off += int64(len(w)) &^ (recordAlign - 1)
		if len(w) < recordAlign {
			break
		}
	}
	return sc.limit, nil
}

// checkBody reads the body in f and compares it with its checksum.
func checkBody(ctx context.Context, f io.ReaderAt, r *record, buf []byte) error {
	var sum uint32
	part := r.body()
	for off := part.Offset; off < part.End(); {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := buf[:min(int64(len(buf)), part.End()-off)]
		if err := readFull(f, b, off); err != nil {
			return err
		}
		sum = crc32.Update(sum, castagnoli(), b)
		off += int64(len(b))
	}
	if sum != r.bodyCRC {
		return fmt.Errorf("%w: the payload does not match its checksum", storage.ErrCorrupt)
	}
	return nil
}
