package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/esante-alsace/cigogne/storage"
)

// Get implements archive.Archive. A range of up to ReadPart is one request;
// of a longer one, several parts are read at the same time, ahead of the
// reader by ReadWindow at most. Where the object carries checksums, no byte
// leaves the reader unchecked: what came damaged is asked for again, and what
// lies there damaged is storage.ErrCorrupt. Failures in mid-stream are tried
// again from the byte where they happened.
func (a *Archive) Get(ctx context.Context, key string, r storage.Range) (io.ReadCloser, error) {
	if err := accept(ctx, key); err != nil {
		return nil, err
	}
	if !r.Within(largest) {
		return nil, outside(key, r, -1)
	}
	if r.Length == 0 {
		h, err := a.head(ctx, key)
		if err == nil && !r.Within(h.size) {
			err = outside(key, r, h.size)
		}
		return http.NoBody, err
	}
	h, known := a.known(key)
	if known && !r.Within(h.size) {
		a.forget(key) // it may be another object by now
		known = false
	}
	if known {
		in, err := a.begin(ctx, key, r, h)
		if !errors.Is(err, errTaken) {
			return in, err
		}
		a.forget(key) // the object that was known was removed, and another put
	}
	return a.getUnknown(ctx, key, r)
}

func outside(key string, r storage.Range, size int64) error {
	return fmt.Errorf("%w: %d bytes from %d of %q, which has %d", storage.ErrInvalid, r.Length, r.Offset, key, size)
}

// begin reads an object that is known. The first request is made at once, so
// that a missing object is found missing here.
func (a *Archive) begin(ctx context.Context, key string, r storage.Range, h head) (io.ReadCloser, error) {
	first := a.plan(r, h).part(0)
	s, _, err := a.open(ctx, key, first, h.etag)
	if err != nil {
		return nil, err
	}
	return a.newReader(ctx, key, r, h, s), nil
}

// getUnknown reads an object of which nothing is known before the answer to
// the first request. That one is made as most packs will need it.
func (a *Archive) getUnknown(ctx context.Context, key string, r storage.Range) (io.ReadCloser, error) {
	guess := head{size: largest, sums: sums{block: smallBlock}}
	s, h, err := a.open(ctx, key, a.plan(r, guess).part(0), "")
	if err != nil {
		return nil, err
	}
	if !r.Within(h.size) {
		s.Close()
		return nil, outside(key, r, h.size)
	}
	a.remember(key, h)
	if first := a.plan(r, h).part(0); first.Offset != s.at || first.End() > s.end {
		s.Close() // its blocks are larger
		s = nil
	}
	return a.newReader(ctx, key, r, h, s), nil
}

// stream is the answer to one request: a range as it comes in.
type stream struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
	ctx    context.Context //nolint:containedctx // the request's, which ends with the stream
	at     int64           // of the next byte
	end    int64
}

// Close ends the request, with what may still be under way.
func (s *stream) Close() {
	s.cancel(context.Canceled)
	s.ReadCloser.Close()
}

// fill reads len(p) bytes. It fails when none come for the silence, or when
// all together take longer than the limit.
func (s *stream) fill(p []byte, silence, limit time.Duration) error {
	timer := time.AfterFunc(silence, func() { s.cancel(errSilent) })
	defer timer.Stop()
	deadline := time.Now().Add(limit)
	for len(p) > 0 {
		n, err := s.Read(p)
		p = p[n:]
		s.at += int64(n)
		switch {
		case len(p) == 0:
			return nil
		case err != nil && errors.Is(context.Cause(s.ctx), errSilent):
			return errSilent
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
		timer.Reset(min(silence, time.Until(deadline)))
	}
	return nil
}

// open asks for a range, which may reach beyond the end of the object when
// its etag is not given, and returns the answer with what it says about it.
func (a *Archive) open(ctx context.Context, key string, r storage.Range, etag string) (*stream, head, error) {
	var s *stream
	var h head
	err := a.retry(ctx, "read", key, func() (err error) {
		s, h, err = a.openOnce(ctx, key, r, etag)
		return err
	})
	return s, h, err
}

func (a *Archive) openOnce(ctx context.Context, key string, r storage.Range, etag string) (*stream, head, error) {
	in := &awss3.GetObjectInput{
		Bucket: a.bucket(), Key: a.name(key),
		Range: aws.String(fmt.Sprintf("bytes=%d-%d", r.Offset, r.End()-1)),
	}
	if etag != "" {
		in.IfMatch = aws.String(etag)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(a.o.Timeout, func() { cancel(errSilent) })
	began := time.Now()
	out, err := a.client.GetObject(ctx, in)
	a.observe("read", began, err)
	if err == nil && !timer.Stop() {
		out.Body.Close()
		err = errSilent
	}
	if err != nil {
		timer.Stop()
		if errors.Is(context.Cause(ctx), errSilent) {
			err = errSilent
		}
		cancel(err)
		return nil, head{}, err
	}
	s := &stream{ReadCloser: out.Body, cancel: cancel, ctx: ctx, at: r.Offset}
	h, err := describe(out, s)
	if err != nil {
		s.Close()
		return nil, head{}, err
	}
	return s, h, nil
}

// describe reads what an answer says about the object and the range.
func describe(out *awss3.GetObjectOutput, s *stream) (head, error) {
	h := head{etag: aws.ToString(out.ETag), modified: aws.ToTime(out.LastModified)}
	length := aws.ToInt64(out.ContentLength)
	from, size, ok := parseContentRange(aws.ToString(out.ContentRange))
	switch {
	case ok && from == s.at:
		h.size = size
	case out.ContentRange == nil && s.at == 0: // a server may answer with the whole
		h.size = length
	default:
		return h, fmt.Errorf("%w: the server answers with the range %q for one from %d",
			storage.ErrUnavailable, aws.ToString(out.ContentRange), s.at)
	}
	h.sums = parseSums(out.Metadata[sumsHeader], h.size)
	s.end = s.at + length
	return h, nil
}

// parseContentRange reads "bytes 0-9/3000".
func parseContentRange(s string) (from, size int64, ok bool) {
	span, total, ok := strings.Cut(strings.TrimPrefix(s, "bytes "), "/")
	if !ok {
		return 0, 0, false
	}
	first, _, _ := strings.Cut(span, "-")
	from, err1 := strconv.ParseInt(first, 10, 64)
	size, err2 := strconv.ParseInt(total, 10, 64)
	return from, size, err1 == nil && err2 == nil && from >= 0 && size > from
}

// gone tells whether an error says that the object itself is not there (any
// more), or not the one that was known, so that asking again is in vain.
func gone(err error) bool {
	kind, _ := classify(err)
	return errors.Is(kind, storage.ErrNotFound) || errors.Is(kind, errTaken) || errors.Is(kind, storage.ErrInvalid)
}
