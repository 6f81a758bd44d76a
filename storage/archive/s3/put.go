package s3

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
)

// putTries bounds how often a Put begins anew because the object that stood
// in its way was gone when it was looked at.
const putTries = 3

// Put implements archive.Archive. The source is read twice: for its checksums
// and to be sent. Success means that the server confirmed the checksum of the
// whole object, or, where it keeps none, that the object was read back.
func (a *Archive) Put(ctx context.Context, key string, src archive.Source) (uint32, error) {
	if err := accept(ctx, key); err != nil {
		return 0, err
	}
	if src.Size() > largest {
		return 0, fmt.Errorf("put %q: %w: %d bytes", key, storage.ErrTooLarge, src.Size())
	}
	s, err := summarize(ctx, src, a.partLength(src.Size()))
	if err != nil {
		if gone := ended(ctx, "put", key); gone != nil {
			return 0, gone
		}
		err, _ = explain("put", key, err)
		return 0, err
	}
	for range putTries {
		err = a.put(ctx, key, src, s)
		if !errors.Is(err, errTaken) {
			break
		}
		// Whoever took the key may have been this Put, in an attempt whose
		// answer was lost.
		if err = a.same(ctx, key, s); !errors.Is(err, storage.ErrNotFound) {
			break
		}
		err = fmt.Errorf("put %q: %w: the object that held the key was removed", key, storage.ErrUnavailable)
	}
	if err != nil {
		return 0, err
	}
	return s.whole, nil
}

// put sends an object once; errTaken when there is one.
func (a *Archive) put(ctx context.Context, key string, src archive.Source, s summary) error {
	var confirmed string
	var err error
	if len(s.parts) > 1 {
		confirmed, err = a.putParts(ctx, key, src, s)
	} else {
		confirmed, err = a.putWhole(ctx, key, src, s)
	}
	if err != nil {
		return err
	}
	return a.confirm(ctx, key, s, confirmed)
}

// putWhole sends an object in one request and returns the checksum that the
// server has of it, if it says.
func (a *Archive) putWhole(ctx context.Context, key string, src archive.Source, s summary) (string, error) {
	confirmed := ""
	err := a.callSending(ctx, "put", key, s.size, func(ctx context.Context, moved func()) error {
		return send(ctx, moved, src, storage.Range{Length: s.size}, func(body io.Reader) error {
			out, err := a.client.PutObject(ctx, &awss3.PutObjectInput{
				Bucket: a.bucket(), Key: a.name(key), Body: body, ContentLength: aws.Int64(s.size),
				IfNoneMatch: aws.String("*"), ChecksumCRC32C: aws.String(encodeCRC(s.whole)), Metadata: s.metadata(),
			})
			if err == nil {
				confirmed = aws.ToString(out.ChecksumCRC32C)
			}
			return err
		})
	})
	return confirmed, err
}

// metadata is what an object carries with it.
func (s summary) metadata() map[string]string {
	if header := s.sums.String(); header != "" {
		return map[string]string{sumsHeader: header}
	}
	return nil
}

// confirm holds what the server says that it stored against what was sent.
// An object of other bytes was stored by this very Put, because only one wins:
// it is removed again.
func (a *Archive) confirm(ctx context.Context, key string, s summary, confirmed string) error {
	a.forget(key)
	err := error(nil)
	switch {
	case a.o.ReadBack || confirmed == "":
		err = a.same(ctx, key, s)
	case confirmed != encodeCRC(s.whole):
		err = storage.ErrConflict
	}
	if !errors.Is(err, storage.ErrConflict) {
		return err
	}
	return errors.Join(fmt.Errorf("put %q: %w: the server stored other bytes", key, storage.ErrCorrupt), a.Remove(ctx, key))
}

// same returns nil when the object of a key has these bytes, by the server's
// checksum where it keeps one of the whole object, and by reading it where it
// does not or where that is asked for; else storage.ErrConflict.
func (a *Archive) same(ctx context.Context, key string, s summary) error {
	taken := fmt.Errorf("put %q: %w: it holds other bytes", key, storage.ErrConflict)
	h, err := a.head(ctx, key)
	if err != nil {
		return err
	}
	if h.size != s.size {
		return taken
	}
	if h.whole != "" && !a.o.ReadBack {
		if h.whole != encodeCRC(s.whole) {
			return taken
		}
		return nil
	}
	crc, err := a.readBack(ctx, key, h)
	if err == nil && crc != s.whole {
		err = taken
	}
	return err
}

// readBack sums an object as it lies there. Its own checksums are passed
// over: that they fit would say nothing about what was to be stored.
func (a *Archive) readBack(ctx context.Context, key string, h head) (uint32, error) {
	if h.size == 0 {
		return 0, nil
	}
	h.sums = sums{}
	r := a.newReader(ctx, key, storage.Range{Length: h.size}, h, nil)
	defer r.Close()
	sum := castagnoli()
	_, err := copyExactly(ctx, sum, r, h.size)
	return sum.Sum32(), err
}

// checksumOfWhole is the CRC-32C of an object's bytes, when that is what the
// server says: of an object in parts it may be one of the parts' checksums.
func checksumOfWhole(crc *string, kind types.ChecksumType) string {
	if kind == types.ChecksumTypeComposite {
		return ""
	}
	return aws.ToString(crc)
}
